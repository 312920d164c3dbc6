// Keys and values of 64 positions as registers of wgmma's A, straight from the cache.
//
// Where a thread's registers want neighbouring columns the cache has neighbouring components. So columns
// stand for components in an order of their own, the same for keys and queries: of each 32 (BF16) or 64
// (E4M3) components the thread q of four has 16 bytes, its first four components in step 0, and so on. The
// rows of the values' products stand for components in the order in which a thread reads four neighbours.
#pragma once

#include "kernels/cuda/common/product.h"
#include "kernels/cuda/decode/attention_step.h"

namespace mm2::kernels::cuda {

constexpr int32_t kTilePositions = 64;
static_assert(kAttentionBlock % kTilePositions == 0, "a tile lies in one block of the cache");

/// What turns a product of a query and a key into an exponent of 2: log2(e) / sqrt(head_dim) times the scale
/// of the keys.
template <int32_t number, int32_t kDim>
__device__ inline float score_factor(const AttentionStep& s, int32_t kv_head) {
  const float scale = number == kE4M3 ? s.k_scales[kv_head] : 1.0f;
  return __fdiv_rn(1.44269504f, __fsqrt_rn(static_cast<float>(kDim))) * scale;
}

/// The column of component d among the queries' (and keys') 16 * steps columns.
template <int32_t number>
MM2_HD constexpr int32_t column_of_component(int32_t d) {
  constexpr int32_t kEach = number == kE4M3 ? 16 : 8;  // of a thread
  const int32_t q = d % (4 * kEach) / kEach, i = d % kEach;
  const int32_t step = d / (4 * kEach) * (kEach / 4) + i / 4;
  return step * 16 + i % 4 / 2 * 8 + 2 * q + i % 2;
}

/// The component of row `row` (0..63) of tile m of the values' rows.
MM2_HD constexpr int32_t component_of_row(int32_t row, int32_t m) {
  const int32_t thread_row = row / 16 * 8 + row % 8;  // 0..31
  return thread_row * 4 + m * 2 + row / 8 % 2;
}

/// Steps of 16 columns that hold the components.
template <int32_t number>
MM2_HD constexpr int32_t score_steps(int32_t head_dim) {
  constexpr int32_t kEach = number == kE4M3 ? 64 : 32;
  return (head_dim + kEach - 1) / kEach * (kEach / 16);
}

/// Two codes of E4M3, in the lowest byte of each half, as BF16.
__device__ __forceinline__ uint32_t pair_of_e4m3(uint32_t low_bytes) {
  return detail::from_e4m3(low_bytes, 0);
}

/// Keys of the thread's rows 16 w + g and + 8. keys: of the tile's first position; rows beyond `last` are
/// 0. thread: of the warpgroup.
template <int32_t number, int32_t kDim>
__device__ __forceinline__ void load_keys(const char* keys, int32_t last, int32_t thread,
                                          uint32_t (&a)[score_steps<number>(kDim)][4]) {
  constexpr int32_t kEach = number == kE4M3 ? 16 : 8, kRowBytes = kDim * 16 / kEach;
  constexpr int32_t kLoads = (kDim + 4 * kEach - 1) / (4 * kEach);
  const int32_t row = thread / 32 * 16 + thread % 32 / 4, q = thread % 4;
  const char* from = keys + row * kRowBytes + q * 16;
  MM2_UNROLL
  for (int i = 0; i < kLoads; ++i) {
    MM2_UNROLL
    for (int lower = 0; lower < 2; ++lower) {
      uint4 w{0, 0, 0, 0};
      if (i * 64 + q * 16 < kRowBytes && row + lower * 8 <= last) {
        w = *reinterpret_cast<const uint4*>(from + i * 64 + lower * 8 * kRowBytes);
      }
      const uint32_t words[4] = {w.x, w.y, w.z, w.w};
      MM2_UNROLL
      for (int j = 0; j < 4; ++j) {
        if constexpr (number == kE4M3) {
          a[i * 4 + j][lower] = pair_of_e4m3(__byte_perm(words[j], 0, 0x4140));
          a[i * 4 + j][2 + lower] = pair_of_e4m3(__byte_perm(words[j], 0, 0x4342));
        } else {
          a[i * 2 + j / 2][j % 2 * 2 + lower] = words[j];
        }
      }
    }
  }
}

/// Values of 64 positions: for two tiles of 64 components, four steps of 16 positions.
template <int32_t number, int32_t kDim>
__device__ __forceinline__ void load_values(const char* values, int32_t last, int32_t thread,
                                            uint32_t (&a)[2][4][4]) {
  constexpr int32_t kBytes = number == kE4M3 ? 1 : 2;
  const int32_t d = (thread / 32 * 8 + thread % 32 / 4) * 4, q = thread % 4;
  const char* first = values + (2 * q * kDim + d) * kBytes;
  MM2_UNROLL
  for (int step = 0; step < 4; ++step) {
    MM2_UNROLL
    for (int half = 0; half < 2; ++half) {
      uint2 w[2] = {{0, 0}, {0, 0}};
      MM2_UNROLL
      for (int odd = 0; odd < 2; ++odd) {
        const int32_t position = step * 16 + half * 8 + odd;  // and 2 q
        if (d >= kDim || position + 2 * q > last) continue;
        const char* from = first + position * kDim * kBytes;
        if constexpr (number == kE4M3) {
          w[odd].x = *reinterpret_cast<const uint32_t*>(from);
        } else {
          w[odd] = *reinterpret_cast<const uint2*>(from);
        }
      }
      // Register 2 half + lower of tile m: component 2 m + lower of both positions.
      if constexpr (number == kE4M3) {
        a[0][step][2 * half] = pair_of_e4m3(__byte_perm(w[0].x, w[1].x, 0x0400));
        a[0][step][2 * half + 1] = pair_of_e4m3(__byte_perm(w[0].x, w[1].x, 0x0501));
        a[1][step][2 * half] = pair_of_e4m3(__byte_perm(w[0].x, w[1].x, 0x0602));
        a[1][step][2 * half + 1] = pair_of_e4m3(__byte_perm(w[0].x, w[1].x, 0x0703));
      } else {
        a[0][step][2 * half] = __byte_perm(w[0].x, w[1].x, 0x5410);
        a[0][step][2 * half + 1] = __byte_perm(w[0].x, w[1].x, 0x7632);
        a[1][step][2 * half] = __byte_perm(w[0].y, w[1].y, 0x5410);
        a[1][step][2 * half + 1] = __byte_perm(w[0].y, w[1].y, 0x7632);
      }
    }
  }
}

}  // namespace mm2::kernels::cuda
