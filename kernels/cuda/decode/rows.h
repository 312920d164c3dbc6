// What consumers of a product do around it: sums of squares, activations into shared memory as wgmma
// wants them.
#pragma once

#include "kernels/cuda/decode/product_step.h"

namespace mm2::kernels::cuda {

constexpr unsigned kConsumersBarrier = 1;

__device__ inline void sync_consumers() {
  named_sync(kConsumersBarrier, kConsumers);
}

/// The sum over the 32 lanes, in every lane: halves, quarters, .. of the warp.
__device__ inline float sum_warp(float x) {
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
  return x;
}

/// Squares of a row by n_threads threads (whole warps): thread i adds those of its float4s ascending,
/// then lanes are added, then warps. What sync() does: all of them meet. room: a float for each warp.
/// width is a multiple of 4.
template <typename Sync>
__device__ inline float sum_of_squares(const float* x, int32_t width, int32_t thread,
                                       int32_t n_threads, float* room, Sync sync) {
  float sum = 0;
  const float4* x4 = reinterpret_cast<const float4*>(x);
  for (int32_t i = thread; i < width / 4; i += n_threads) {
    const float4 v = __ldcg(x4 + i);
    sum = __fmaf_rn(v.x, v.x, sum);
    sum = __fmaf_rn(v.y, v.y, sum);
    sum = __fmaf_rn(v.z, v.z, sum);
    sum = __fmaf_rn(v.w, v.w, sum);
  }
  sum = sum_warp(sum);
  sync();
  if (thread % 32 == 0) room[thread / 32] = sum;
  sync();
  float all = 0;
  for (int32_t i = 0; i < n_threads / 32; ++i) all += room[i];
  return all;
}

__device__ inline float norm_factor(float sum, int32_t width, float eps) {
  return __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(sum, static_cast<float>(width)) + eps));
}

/// The row of h of column c, -1 where there is none.
__device__ inline int32_t token_of(const ProductStep& p, int32_t c) {
  if (p.task == kHeadTask) return c < p.input->n_outputs ? p.input->outputs[c] : -1;
  return c < p.input->n_tokens ? p.input->base + c : -1;
}

/// Columns [first, first + n) of norm(h) as BF16; factors: of each token column.
__device__ inline void stage_normed(const ProductStep& p, const float* factors, char* x,
                                    int32_t thread, int32_t first, int32_t n) {
  for (int32_t i = thread; i < kDecodeTokens * n / 4; i += kConsumers) {
    const int32_t c = i / (n / 4), k = i % (n / 4) * 4;
    const int32_t token = token_of(p, c);
    uint2 pairs{0, 0};
    if (token >= 0 && first + k < p.n_in) {
      const float4 h =
          __ldcg(reinterpret_cast<const float4*>(p.h + int64_t{token} * p.n_in + first + k));
      const float4 w = *reinterpret_cast<const float4*>(p.norm + first + k);
      const float f = factors[c];
      pairs.x = round_to_pair(h.x * f * w.x, h.y * f * w.y);
      pairs.y = round_to_pair(h.z * f * w.z, h.w * f * w.w);
    }
    char* to = x + k / 64 * kXTileBytes +
               tile_byte(static_cast<uint32_t>(c), static_cast<uint32_t>(k % 64));
    *reinterpret_cast<uint2*>(to) = pairs;
  }
}

/// The same of rows that are BF16 already, `rows` that of column 0; n_rows of them are there.
__device__ inline void stage_rows(const ProductStep& p, const uint16_t* rows, int32_t n_rows,
                                  char* x, int32_t thread, int32_t first, int32_t n) {
  for (int32_t i = thread; i < kDecodeTokens * n / 8; i += kConsumers) {
    const int32_t c = i / (n / 8), k = i % (n / 8) * 8;
    uint4 eight{0, 0, 0, 0};
    if (c < n_rows && first + k < p.n_in) {
      eight = __ldcg(reinterpret_cast<const uint4*>(rows + int64_t{c} * p.n_in + first + k));
    }
    char* to = x + k / 64 * kXTileBytes +
               tile_byte(static_cast<uint32_t>(c), static_cast<uint32_t>(k % 64));
    *reinterpret_cast<uint4*>(to) = eight;
  }
}

}  // namespace mm2::kernels::cuda
