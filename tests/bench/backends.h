// The backends that this machine can run, and what its arithmetic gives at most.
#pragma once

#include <vector>

#include "bench/probe.h"
#include "kernels/api/backend.h"
#include "kernels/api/cpu_features.h"

namespace bench {

inline std::vector<const mm2::kernels::Backend*> backends_here() {
  namespace k = mm2::kernels;
  std::vector<const k::Backend*> all = {k::generic_backend()};
#if defined(__x86_64__)
  if (k::has_avx2()) all.push_back(k::avx2_backend());
  if (k::has_avx512()) all.push_back(k::avx512_backend());
  if (k::has_avx512()) all.push_back(k::avx512_pairs_backend());
#endif
  return all;
}

/// GFLOP/s of all threads: multiply-adds, products of BF16 pairs and of four bytes, in 512 bits; 0
/// where there are none.
struct Peaks {
  double fma, bf16, int8;
};

#if defined(__x86_64__)

// Ten sums in registers; what they hold does not matter.
#define MM2_TEN_TIMES(op)                                                                       \
  asm volatile(op " %%zmm30, %%zmm31, %%zmm0\n" op " %%zmm30, %%zmm31, %%zmm1\n" op             \
                  " %%zmm30, %%zmm31, %%zmm2\n" op " %%zmm30, %%zmm31, %%zmm3\n" op             \
                  " %%zmm30, %%zmm31, %%zmm4\n" op " %%zmm30, %%zmm31, %%zmm5\n" op             \
                  " %%zmm30, %%zmm31, %%zmm6\n" op " %%zmm30, %%zmm31, %%zmm7\n" op             \
                  " %%zmm30, %%zmm31, %%zmm8\n" op " %%zmm30, %%zmm31, %%zmm9\n" ::             \
                      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                        "xmm9")

__attribute__((target("avx512f"))) inline void clear_sums() {
  asm volatile("vpxord %%zmm30, %%zmm30, %%zmm30\n vpxord %%zmm31, %%zmm31, %%zmm31\n vzeroall" ::
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                     "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm30", "xmm31");
}

__attribute__((target("avx512f"))) inline void fma_chains(int64_t turns) {
  clear_sums();
  for (int64_t i = 0; i < turns; ++i) MM2_TEN_TIMES("vfmadd231ps");
}

__attribute__((target("avx512f"))) inline void bf16_chains(int64_t turns) {
  clear_sums();
  for (int64_t i = 0; i < turns; ++i) MM2_TEN_TIMES("vdpbf16ps");
}

__attribute__((target("avx512f"))) inline void int8_chains(int64_t turns) {
  clear_sums();
  for (int64_t i = 0; i < turns; ++i) MM2_TEN_TIMES("vpdpbusd");
}

#undef MM2_TEN_TIMES

#endif

/// Of about a millisecond of `chains`.
inline double chain_rate(Team& team, void (*chains)(int64_t), double operations, int64_t turns) {
  const double begin = now();
  team.run(team.n_threads(), [&](int32_t, int32_t) { chains(turns); });
  return operations * 10 * static_cast<double>(turns * team.n_threads()) / (now() - begin) / 1e9;
}

inline Peaks measure_peaks([[maybe_unused]] Team& team, [[maybe_unused]] int64_t turns = 300'000) {
  Peaks peaks{0, 0, 0};
#if defined(__x86_64__)
  for (int i = 0; i < 5; ++i) {
    if (__builtin_cpu_supports("avx512f")) {
      peaks.fma = std::max(peaks.fma, chain_rate(team, fma_chains, 32, turns));
    }
    if (__builtin_cpu_supports("avx512bf16")) {
      peaks.bf16 = std::max(peaks.bf16, chain_rate(team, bf16_chains, 64, turns));
    }
    if (__builtin_cpu_supports("avx512vnni")) {
      peaks.int8 = std::max(peaks.int8, chain_rate(team, int8_chains, 128, turns));
    }
  }
#endif
  return peaks;
}

}  // namespace bench
