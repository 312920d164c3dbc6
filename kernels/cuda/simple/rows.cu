// Operations on rows without weights of matrices.
#include "kernels/api/backend.h"
#include "kernels/api/math_f64.h"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/simple/product.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda {
namespace {

constexpr unsigned kRowThreads = 128;

__global__ void embed_kernel(const char* table, int32_t number, int64_t hidden,
                             const int32_t* tokens, float* y) {
  const int64_t t = blockIdx.x;
  const char* row = table + tokens[t] * hidden * bytes_of(number);
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) {
    y[t * hidden + i] = scale_from(number, row + i * bytes_of(number));
  }
}

__global__ void rope_table_kernel(const int32_t* positions, int32_t rotary_dim, double log_theta,
                                  float* table) {
  const int32_t n = rotary_dim / 2;
  float* row = table + int64_t{blockIdx.x} * rotary_dim;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < n;
       i += static_cast<int32_t>(blockDim.x)) {
    const double frequency = exp_f64(log_theta * (-2.0 * i / rotary_dim));
    const SinCos at = sin_cos_f64(positions[blockIdx.x] * frequency);
    row[i] = static_cast<float>(at.cos);
    row[n + i] = static_cast<float>(at.sin);
  }
}

__global__ void rms_norm_kernel(const float* x, const float* weight, float eps, int32_t width,
                                float* y) {
  const float* from = x + int64_t{blockIdx.x} * width;
  float* to = y + int64_t{blockIdx.x} * width;
  const float scale = simple::norm_scale(from, width, eps, shared_memory<float>());
  for (unsigned i = threadIdx.x; i < static_cast<unsigned>(width); i += blockDim.x) {
    to[i] = from[i] * scale * weight[i];
  }
}

__global__ void gather_kernel(const float* h, const int32_t* output_tokens, int64_t hidden,
                              float* outputs) {
  const int64_t from = output_tokens[blockIdx.x] * hidden, to = blockIdx.x * hidden;
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) outputs[to + i] = h[from + i];
}

// x - x is 0 only for finite numbers.
__global__ void judge_kernel(const float* h, const DeviceRow* rows, int64_t hidden,
                             int32_t* row_results) {
  const DeviceRow& row = rows[blockIdx.x];
  const float* from = h + row.first_token * hidden;
  int finite = 1;
  for (int64_t i = threadIdx.x; i < row.n_tokens * hidden; i += blockDim.x) {
    finite &= from[i] - from[i] == 0.0f ? 1 : 0;
  }
  const int wrong = __syncthreads_or(finite == 0 ? 1 : 0);
  if (threadIdx.x == 0) row_results[blockIdx.x] = wrong != 0 ? kRowNotFinite : kRowDone;
}

}  // namespace

namespace simple {

cudaError_t embed(const DeviceStep& step, const DeviceMatrix& table, float* y) {
  const Launch how{static_cast<unsigned>(step.n_tokens), kRowThreads, step.stream};
  return launch(embed_kernel, how, table.data, table.layout.format.number, table.layout.n_in,
                step.tokens, y);
}

cudaError_t rope_table(const DeviceStep& step, float* table) {
  const Launch how{static_cast<unsigned>(step.n_tokens), 32, step.stream};
  return launch(rope_table_kernel, how, step.positions, step.shape().rotary_dim,
                log_f64(step.shape().rope_theta), table);
}

cudaError_t rms_norm(const DeviceStep& step, const float* x, const float* weight, int32_t n_rows,
                     int32_t width, float* y) {
  const Launch how{static_cast<unsigned>(n_rows), kRowThreads, step.stream, 16 * sizeof(float)};
  return launch(rms_norm_kernel, how, x, weight, step.shape().rms_norm_eps, width, y);
}

}  // namespace simple

cudaError_t gather_outputs(const DeviceStep& step) {
  const Launch how{static_cast<unsigned>(step.n_outputs), kRowThreads, step.stream};
  return launch(gather_kernel, how, step.buffers.h, step.output_tokens, step.shape().hidden,
                step.buffers.outputs);
}

cudaError_t judge_rows(const DeviceStep& step) {
  const Launch how{static_cast<unsigned>(step.n_rows), kRowThreads, step.stream};
  return launch(judge_kernel, how, step.buffers.h, step.rows, step.shape().hidden,
                step.row_results);
}

}  // namespace mm2::kernels::cuda
