#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/simple/product.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda::simple {
namespace {

constexpr unsigned kTokenThreads = 128;

struct FinishArgs {
  ModelShape shape;
  const float *q_norm, *k_norm, *rope;
  const DeviceRow* rows;
  const int32_t *token_rows, *positions;
  DeviceKv kv;
  int32_t layer;
  float *q, *kv_work;
};

__device__ void normalize(float* x, const float* weight, float eps, int32_t width) {
  const float scale = norm_scale(x, width, eps, shared_memory<float>());
  for (unsigned i = threadIdx.x; i < static_cast<unsigned>(width); i += blockDim.x) {
    x[i] = x[i] * scale * weight[i];
  }
  __syncthreads();
}

// Component i of a head pairs with i + rotary_dim / 2.
__device__ void rotate(float* heads, int32_t n_heads, const ModelShape& s, const float* rope) {
  const int32_t n = s.rotary_dim / 2;
  for (unsigned at = threadIdx.x; at < static_cast<unsigned>(n_heads * n); at += blockDim.x) {
    const int32_t head = static_cast<int32_t>(at) / n, i = static_cast<int32_t>(at) % n;
    float* x = heads + head * s.head_dim;
    const float first = x[i], second = x[n + i];
    x[i] = first * rope[i] - second * rope[n + i];
    x[n + i] = second * rope[i] + first * rope[n + i];
  }
  __syncthreads();
}

// k and v of a token into the cache; what fills up a row becomes 0.
__device__ void store(const FinishArgs& a, int64_t t, const float* k, const float* v) {
  const ModelShape& s = a.shape;
  const KvLayout& l = a.kv.layout;
  const int64_t position = a.positions[t];
  const int32_t first_block = a.rows[a.token_rows[t]].first_block;
  const int32_t block = a.kv.blocks[first_block + position / l.block_size];
  char* base = a.kv.data + a.layer * a.kv.layer_stride + block * a.kv.block_stride;
  const auto stored = static_cast<int32_t>(l.row_bytes / bytes_of(l.number));
  for (unsigned at = threadIdx.x; at < static_cast<unsigned>(s.n_kv_heads * stored);
       at += blockDim.x) {
    const int32_t head = static_cast<int32_t>(at) / stored, d = static_cast<int32_t>(at) % stored;
    const int32_t scale_at = a.layer * s.n_kv_heads + head;
    const bool scales = l.number == kE4M3, there = d < s.head_dim;
    char* row = base + key_place(l, head, position % l.block_size);
    store_kv_number_at(l.number, there ? k[head * s.head_dim + d] : 0.0f,
                       scales ? a.kv.k_scales[scale_at] : 1.0f, row, d);
    store_kv_number_at(l.number, there ? v[head * s.head_dim + d] : 0.0f,
                       scales ? a.kv.v_scales[scale_at] : 1.0f, row + l.half_bytes, d);
  }
}

// Norm, rotation and cache of one token.
__global__ void finish_kernel(FinishArgs a) {
  const ModelShape& s = a.shape;
  const int64_t t = blockIdx.x;
  const int32_t q_width = s.n_heads * s.head_dim, kv_width = s.n_kv_heads * s.head_dim;
  float* q = a.q + t * q_width;
  float* k = a.kv_work + t * 2 * kv_width;
  const float* rope = a.rope + t * s.rotary_dim;
  normalize(q, a.q_norm, s.rms_norm_eps, q_width);
  normalize(k, a.k_norm, s.rms_norm_eps, kv_width);
  rotate(q, s.n_heads, s, rope);
  rotate(k, s.n_kv_heads, s, rope);
  store(a, t, k, k + kv_width);
}

}  // namespace

cudaError_t qkv(const DeviceStep& step, int32_t layer, const float* x) {
  const ModelShape& s = step.shape();
  const DeviceLayer& w = step.weights->layers[layer];
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t kv_width = int64_t{s.n_kv_heads} * s.head_dim;
  float* kv = step.buffers.kv_work;
  cudaError_t error = product(step, x, step.n_tokens, w.q, nullptr, step.buffers.q, q_width);
  if (error == cudaSuccess) error = product(step, x, step.n_tokens, w.k, nullptr, kv, 2 * kv_width);
  if (error == cudaSuccess) {
    error = product(step, x, step.n_tokens, w.v, nullptr, kv + kv_width, 2 * kv_width);
  }
  if (error != cudaSuccess) return error;
  const FinishArgs args{s,
                        w.q_norm,
                        w.k_norm,
                        step.buffers.rope,
                        step.rows,
                        step.token_rows,
                        step.positions,
                        step.kv,
                        layer,
                        step.buffers.q,
                        kv};
  const Launch how{static_cast<unsigned>(step.n_tokens), kTokenThreads, step.stream,
                   16 * sizeof(float)};
  return launch(finish_kernel, how, args);
}

}  // namespace mm2::kernels::cuda::simple
