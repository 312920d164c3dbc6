// CUDA C++ for g++: qualifiers, built-in variables and intrinsics of kernels that run on the emulator.
//
// A CUDA thread is a fiber. Blocks run one after the other (in a cooperative launch all are alive at
// once); threads change only where they wait for others, so what lies between two such places runs
// undisturbed. There is no __shared__: a variable would outlive its block and be seen by all of a
// cooperative launch. Kernels take shared memory from kernels/cuda/common/launch.h.
#pragma once

#include <math.h>
#include <string.h>

#include <algorithm>

#include "cuda_runtime_api.h"
#include "primitives.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __constant__ const
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline int4 make_int4(int x, int y, int z, int w) {
  return {x, y, z, w};
}
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;
constexpr int warpSize = 32;

inline void __syncthreads() {
  cuda_emulator::sync_threads();
}
inline int __syncthreads_or(int value) {
  return cuda_emulator::sync_threads_count(value) > 0;
}
inline int __syncthreads_count(int value) {
  return cuda_emulator::sync_threads_count(value);
}
inline void __syncwarp(unsigned mask = ~0u) {
  cuda_emulator::warp(cuda_emulator::WarpOp::kSync, mask, 0, 0, 32);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {
  cuda_emulator::yield("__nanosleep");
}

namespace cuda_emulator {

template <typename T>
inline T shuffle(WarpOp op, unsigned mask, T value, unsigned lane, int width) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = warp(op, mask, bits, lane, static_cast<unsigned>(width));
  memcpy(&value, &bits, sizeof(T));
  return value;
}

template <typename T>
inline T reduce(WarpOp op, unsigned mask, T value) {
  return static_cast<T>(warp(op, mask, static_cast<uint64_t>(static_cast<int64_t>(value)), 0, 32));
}

}  // namespace cuda_emulator

template <typename T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  return cuda_emulator::shuffle(cuda_emulator::WarpOp::kShuffle, mask, value,
                                static_cast<unsigned>(lane), width);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return cuda_emulator::shuffle(cuda_emulator::WarpOp::kShuffleUp, mask, value, delta, width);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return cuda_emulator::shuffle(cuda_emulator::WarpOp::kShuffleDown, mask, value, delta, width);
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  return cuda_emulator::shuffle(cuda_emulator::WarpOp::kShuffleXor, mask, value,
                                static_cast<unsigned>(lanes), width);
}
inline unsigned __ballot_sync(unsigned mask, int value) {
  return static_cast<unsigned>(
      cuda_emulator::warp(cuda_emulator::WarpOp::kBallot, mask, value != 0, 0, 32));
}
inline int __any_sync(unsigned mask, int value) {
  return __ballot_sync(mask, value) != 0;
}
inline int __all_sync(unsigned mask, int value) {
  return __ballot_sync(mask, value) == mask;
}
inline int __reduce_add_sync(unsigned mask, int value) {
  return cuda_emulator::reduce(cuda_emulator::WarpOp::kAdd, mask, value);
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value) {
  return cuda_emulator::reduce(cuda_emulator::WarpOp::kAdd, mask, value);
}
inline int __reduce_max_sync(unsigned mask, int value) {
  return cuda_emulator::reduce(cuda_emulator::WarpOp::kMax, mask, value);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  return static_cast<unsigned>(
      cuda_emulator::warp(cuda_emulator::WarpOp::kMax, mask, value, 0, 32));
}
inline int __reduce_min_sync(unsigned mask, int value) {
  return cuda_emulator::reduce(cuda_emulator::WarpOp::kMin, mask, value);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return static_cast<unsigned>(
      cuda_emulator::warp(cuda_emulator::WarpOp::kMin, mask, value, 0, 32));
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value) {
  return cuda_emulator::reduce(cuda_emulator::WarpOp::kOr, mask, value);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value) {
  return cuda_emulator::reduce(cuda_emulator::WarpOp::kAnd, mask, value);
}

// Fibers of one launch share an operating-system thread, so plain operations are atomic among them.
template <typename T>
inline T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  cuda_emulator::progress();
  return before;
}
template <typename T>
inline T atomicSub(T* at, T value) {
  const T before = *at;
  *at = before - value;
  cuda_emulator::progress();
  return before;
}
template <typename T>
inline T atomicMax(T* at, T value) {
  const T before = *at;
  *at = before < value ? value : before;
  return before;
}
template <typename T>
inline T atomicMin(T* at, T value) {
  const T before = *at;
  *at = value < before ? value : before;
  return before;
}
template <typename T>
inline T atomicOr(T* at, T value) {
  const T before = *at;
  *at = before | value;
  return before;
}
template <typename T>
inline T atomicExch(T* at, T value) {
  const T before = *at;
  *at = value;
  cuda_emulator::progress();
  return before;
}
template <typename T>
inline T atomicCAS(T* at, T expected, T value) {
  const T before = *at;
  if (before == expected) *at = value;
  return before;
}

template <typename T>
inline T __ldg(const T* at) {
  return *at;
}
template <typename T>
inline T __ldcg(const T* at) {
  return *at;
}
template <typename T>
inline T __ldcs(const T* at) {
  return *at;
}
template <typename T>
inline void __stcg(T* at, T value) {
  *at = value;
}
template <typename T>
inline void __stcs(T* at, T value) {
  *at = value;
}

inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fsqrt_rn(float a) {
  return sqrtf(a);
}
inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, 4);
  return bits;
}
inline int __float_as_int(float x) {
  return static_cast<int>(__float_as_uint(x));
}
inline float __uint_as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
inline float __int_as_float(int bits) {
  return __uint_as_float(static_cast<unsigned>(bits));
}
inline int __float2int_rn(float x) {
  return static_cast<int>(lrintf(x));
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
/// Bytes of y:x (x is bytes 0 to 3) picked by the low three bits of each nibble of `select`; bit 3
/// spreads the sign of the byte.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned select) {
  const uint64_t bytes = uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned pick = select >> (4 * i) & 15u;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (pick & 7u))) & 0xFFu;
    if ((pick & 8u) != 0) byte = (byte & 0x80u) != 0 ? 0xFFu : 0u;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) >> (shift & 31u));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) << (shift & 31u) >> 32);
}

using std::max;
using std::min;
