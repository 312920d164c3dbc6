#include "kernels/api/math.h"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/simple/product.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda::simple {
namespace {

// scores [n_tokens, n_experts]
__global__ void score_kernel(DeviceMatrix gate, const float* x, float* scores) {
  const int64_t expert = int64_t{blockIdx.y} * blockDim.x + threadIdx.x, t = blockIdx.x;
  if (expert >= gate.layout.n_out) return;
  const float sum = multiply_one(gate, expert, x + t * gate.layout.n_in, kF32);
  scores[t * gate.layout.n_out + expert] = sigmoid_f32(sum);
}

// A thread has one token. The top_k of score + bias, ids ascending; of equal ones the lower id.
// Always top_k different ids, whatever the numbers are.
__global__ void select_kernel(const float* all_scores, const float* bias, int32_t n_tokens,
                              int32_t n_experts, int32_t top_k, int32_t* all_ids,
                              float* all_weights) {
  const int64_t t = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (t >= n_tokens) return;
  const float* scores = all_scores + t * n_experts;
  int32_t* ids = all_ids + t * top_k;
  float* weights = all_weights + t * top_k;
  for (int32_t n = 0; n < top_k; ++n) {
    int32_t best = -1;
    for (int32_t e = 0; e < n_experts; ++e) {
      if (best >= 0 && !(scores[e] + bias[e] > scores[best] + bias[best])) continue;
      bool taken = false;
      for (int32_t i = 0; i < n; ++i) taken |= ids[i] == e;
      if (!taken) best = e;
    }
    int32_t at = n;
    for (; at > 0 && ids[at - 1] > best; --at) ids[at] = ids[at - 1];
    ids[at] = best;
  }
  float sum = 0.0f;
  for (int32_t i = 0; i < top_k; ++i) sum += scores[ids[i]];
  for (int32_t i = 0; i < top_k; ++i) weights[i] = scores[ids[i]] / sum;
}

}  // namespace

int64_t router_scratch(const ModelShape& s, int64_t max_tokens) {
  return max_tokens * s.n_experts * int64_t{sizeof(float)};
}

cudaError_t router(const DeviceStep& step, int32_t layer, const float* x, int32_t* ids,
                   float* weights) {
  const ModelShape& s = step.shape();
  const DeviceLayer& w = step.weights->layers[layer];
  float* scores = reinterpret_cast<float*>(step.buffers.scratch);
  const dim3 grid(static_cast<unsigned>(step.n_tokens), n_groups(s.n_experts, kThreads));
  const cudaError_t error =
      launch(score_kernel, {grid, kThreads, step.stream}, w.router, x, scores);
  if (error != cudaSuccess) return error;
  const Launch how{n_groups(step.n_tokens, 32), 32, step.stream};
  return launch(select_kernel, how, scores, w.router_bias, step.n_tokens, s.n_experts, s.top_k, ids,
                weights);
}

}  // namespace mm2::kernels::cuda::simple
