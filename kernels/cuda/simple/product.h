// One thread's part of a product with weights: rows of x times one row of w, added up as
// kernels/api/ops.h says.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/common/device_ops.h"

namespace mm2::kernels::cuda::simple {

constexpr unsigned kThreads = 64;
/// Rows of x for which a thread reads a weight once.
constexpr int32_t kTile = 4;

/// x as it enters products.
__device__ inline float entered(float x, int32_t activations) {
  return activations == kBF16 ? bf16_to_f32(f32_to_bf16(x)) : x;
}

/// Several rows of x that meet the same row of w.
struct Rows {
  const float* x;  // [n, stride]
  int64_t stride;
  int32_t n;  // at most kTile
  int32_t activations;
  const int32_t* order;  // of w's columns, or null

  __device__ float at(int32_t t, int64_t k) const {
    return entered(x[t * stride + (order == nullptr ? k : order[k])], activations);
  }
};

/// What a code counts for in a chain: with zeros it counts from 0, where scales lie in codes it is
/// the number itself.
__device__ inline float chain_number(const WeightLayout& l, const char* w, int64_t row, int64_t k) {
  if (l.format.zeros != 0) {
    return static_cast<float>(bits_at(w, code_place(l, row, k), code_bits(l)));
  }
  const float number = number_at(l, w, row, k);
  return scale_in_code(l.format) ? number * scale_at(l, w, row, k) : number;
}

/// sums[t] += w[row, k] * x[t, k] for k in [k0, end): pairs ascending, of a pair the odd one first.
__device__ inline void add_chain(const WeightLayout& l, const char* w, int64_t row, const Rows& x,
                                 int64_t k0, int64_t end, float (&sums)[kTile]) {
  for (int64_t k = k0; k < end; k += 2) {
    for (int64_t at = k + 1 < end ? k + 1 : k; at >= k; --at) {
      const float number = chain_number(l, w, row, at);
      for (int32_t t = 0; t < x.n; ++t) sums[t] += number * x.at(t, at);
    }
  }
}

/// Where the chain of a sum group begins: at -(zero * sum of the group's x).
__device__ inline void start_below(const WeightLayout& l, const char* w, int64_t row, const Rows& x,
                                   int64_t k0, int64_t end, float (&chain)[kTile]) {
  const float zero = static_cast<float>(bits_at(w, zero_place(l, row, k0), code_bits(l)));
  for (int32_t t = 0; t < x.n; ++t) {
    float sum = 0.0f;
    for (int64_t k = k0; k < end; k += 2) {
      if (k + 1 < end) sum += x.at(t, k + 1);
      sum += x.at(t, k);
    }
    chain[t] = -(zero * sum);
  }
}

/// sums[t] = the product of row `row` of w with x[t], without the scale of the output.
__device__ inline void multiply(const DeviceMatrix& m, int64_t row, const Rows& x,
                                float (&sums)[kTile]) {
  const WeightLayout& l = m.layout;
  for (int32_t t = 0; t < kTile; ++t) sums[t] = 0.0f;
  const int64_t group = sum_group(l.format);
  if (group == 0) {
    add_chain(l, m.data, row, x, 0, l.n_in, sums);
    return;
  }
  for (int64_t k0 = 0; k0 < l.n_in; k0 += group) {
    const int64_t end = k0 + group < l.n_in ? k0 + group : l.n_in;
    float chain[kTile] = {};
    if (l.format.zeros != 0) start_below(l, m.data, row, x, k0, end, chain);
    add_chain(l, m.data, row, x, k0, end, chain);
    const float scale = scale_at(l, m.data, row, k0);
    for (int32_t t = 0; t < x.n; ++t) sums[t] += scale * chain[t];
  }
}

/// The number that the matrix stands for.
__device__ inline float scaled(const DeviceMatrix& m, float sum) {
  if (m.output_scale == 1.0f) return sum;
  return m.output_divides != 0 ? sum / m.output_scale : sum * m.output_scale;
}

/// Row `row` of w times one row of x.
__device__ inline float multiply_one(const DeviceMatrix& m, int64_t row, const float* x,
                                     int32_t activations) {
  float sums[kTile];
  multiply(m, row, {x, 0, 1, activations, order_of(m.layout, m.data)}, sums);
  return scaled(m, sums[0]);
}

/// 1 / sqrt(mean of squares + eps) of a row, by the first 16 threads of the block for all of them:
/// squares in 16 lanes, then the lanes in halves. lanes: 16 floats of shared memory.
__device__ inline float norm_scale(const float* x, int32_t width, float eps, float* lanes) {
  if (threadIdx.x < 16) {
    float sum = 0.0f;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < width; i += 16) sum += x[i] * x[i];
    lanes[threadIdx.x] = sum;
  }
  __syncthreads();
  float sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = lanes[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  __syncthreads();
  const float mean = sums[0] / static_cast<float>(width);
  return 1.0f / sqrtf(mean + eps);
}

}  // namespace mm2::kernels::cuda::simple
