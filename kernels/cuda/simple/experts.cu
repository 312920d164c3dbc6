#include "kernels/api/math.h"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/simple/product.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda::simple {
namespace {

// inner[pair] = silu(gate x) * (up x) for each pair of a token and one of its experts, as it enters
// the next product. A thread has one row of gate and up.
__global__ void gate_up_kernel(const DeviceExpert* experts, const float* x, const int32_t* ids,
                               int32_t top_k, int32_t activations, float* inner) {
  const int64_t pair = blockIdx.x, row = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const DeviceExpert& expert = experts[ids[pair]];
  const int64_t width = expert.gate.layout.n_out;
  if (row >= width) return;
  const float* from = x + pair / top_k * expert.gate.layout.n_in;
  const float gate = multiply_one(expert.gate, row, from, activations);
  const float up = multiply_one(expert.up, row, from, activations);
  inner[pair * width + row] = entered(gate * sigmoid_f32(gate) * up, activations);
}

// h += sum over the experts of a token, ids ascending, of weight * down. A thread has one row.
__global__ void down_kernel(const DeviceExpert* experts, const float* inner, const int32_t* ids,
                            const float* weights, int32_t top_k, int32_t activations,
                            int64_t hidden, float* h) {
  const int64_t t = blockIdx.x, row = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (row >= hidden) return;
  float sum = 0.0f;
  for (int64_t pair = t * top_k; pair < (t + 1) * top_k; ++pair) {
    const DeviceMatrix& down = experts[ids[pair]].down;
    sum += weights[pair] * multiply_one(down, row, inner + pair * down.layout.n_in, activations);
  }
  h[t * hidden + row] += sum;
}

}  // namespace

int64_t experts_scratch(const ModelShape& s, int64_t max_tokens) {
  return max_tokens * s.top_k * s.intermediate * int64_t{sizeof(float)};
}

cudaError_t experts(const DeviceStep& step, int32_t layer, const float* x, const int32_t* ids,
                    const float* weights, float* h) {
  const ModelShape& s = step.shape();
  const DeviceExpert* experts = step.weights->layers[layer].experts;
  float* inner = reinterpret_cast<float*>(step.buffers.scratch);
  const auto n_tokens = static_cast<unsigned>(step.n_tokens);
  const dim3 pairs(n_tokens * static_cast<unsigned>(s.top_k), n_groups(s.intermediate, kThreads));
  const cudaError_t error = launch(gate_up_kernel, {pairs, kThreads, step.stream}, experts, x, ids,
                                   s.top_k, step.activations, inner);
  if (error != cudaSuccess) return error;
  const dim3 tokens(n_tokens, n_groups(s.hidden, kThreads));
  return launch(down_kernel, {tokens, kThreads, step.stream}, experts, inner, ids, weights, s.top_k,
                step.activations, s.hidden, h);
}

}  // namespace mm2::kernels::cuda::simple
