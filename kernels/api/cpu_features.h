// What this processor, and the operating system on it, can run.
#pragma once

namespace mm2::kernels {

/// Everything that kernels/cpu/avx2 is compiled for.
static inline bool has_avx2() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

/// Everything that kernels/cpu/avx512 is compiled for.
static inline bool has_avx512() {
#if defined(__x86_64__)
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

/// Whether vdpbf16ps is one operation for twice the products of a fused multiply-add. It is on Zen 4
/// and 5; on Sapphire Rapids and its successors it takes the time of four of them.
static inline bool multiplies_pairs_fast() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_is("amd");
#else
  return false;
#endif
}

}  // namespace mm2::kernels
