#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/simple/product.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda::simple {
namespace {

// A thread has one row of w and kTile rows of x.
__global__ void linear_kernel(DeviceMatrix w, const float* x, int32_t n_tokens, int32_t activations,
                              const float* add, float* y, int64_t y_stride) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= w.layout.n_out) return;
  const int32_t t0 = static_cast<int32_t>(blockIdx.y) * kTile;
  const int32_t n = n_tokens - t0 < kTile ? n_tokens - t0 : kTile;
  float sums[kTile];
  const int32_t* order = order_of(w.layout, w.data);
  multiply(w, row, {x + t0 * w.layout.n_in, w.layout.n_in, n, activations, order}, sums);
  for (int32_t t = 0; t < n; ++t) {
    const int64_t at = (t0 + t) * y_stride + row;
    const float sum = scaled(w, sums[t]);
    y[at] = add == nullptr ? sum : add[at] + sum;
  }
}

}  // namespace

cudaError_t product(const DeviceStep& step, const float* x, int32_t n_tokens, const DeviceMatrix& w,
                    const float* add, float* y, int64_t y_stride) {
  if (n_tokens <= 0) return cudaSuccess;
  const dim3 grid(n_groups(w.layout.n_out, kThreads), n_groups(n_tokens, kTile));
  return launch(linear_kernel, {grid, kThreads, step.stream}, w, x, n_tokens, step.activations, add,
                y, y_stride);
}

cudaError_t linear(const DeviceStep& step, const float* x, int32_t n_tokens, const DeviceMatrix& w,
                   const float* add, float* y) {
  return product(step, x, n_tokens, w, add, y, w.layout.n_out);
}

}  // namespace mm2::kernels::cuda::simple
