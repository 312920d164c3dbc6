// Two numbers of BF16 in a register, the one with the lower index in the low half, each instruction
// with its twin. Subnormal numbers count: none of them is flushed.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels/api/numbers.h"

namespace mm2::kernels::cuda {

#if defined(MM2_CUDA_EMULATED)

inline uint32_t round_to_pair(float low, float high) {
  return f32_to_bf16(low) | uint32_t{f32_to_bf16(high)} << 16;
}
inline uint32_t multiply_pairs(uint32_t a, uint32_t b) {
  return round_to_pair(float_of(a << 16) * float_of(b << 16),
                       float_of(a & 0xFFFF0000u) * float_of(b & 0xFFFF0000u));
}
inline uint32_t subtract_pairs(uint32_t a, uint32_t b) {
  return round_to_pair(float_of(a << 16) - float_of(b << 16),
                       float_of(a & 0xFFFF0000u) - float_of(b & 0xFFFF0000u));
}

#else

/// To nearest, ties to even.
__device__ __forceinline__ uint32_t round_to_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ __forceinline__ uint32_t multiply_pairs(uint32_t a, uint32_t b) {
  uint32_t pair;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}
__device__ __forceinline__ uint32_t subtract_pairs(uint32_t a, uint32_t b) {
  uint32_t pair;
  asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}

#endif

}  // namespace mm2::kernels::cuda
