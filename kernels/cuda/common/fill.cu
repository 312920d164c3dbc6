#include "kernels/cuda/common/fill.h"

#include "kernels/cuda/common/launch.h"

namespace mm2::kernels::cuda {
namespace {

constexpr unsigned kThreads = 256, kMostBlocks = 1024;

__global__ void fill_kernel(float* values, int64_t n, float value) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    values[i] = value;
  }
}

}  // namespace

cudaError_t can_run_kernels() {
  return has_code(fill_kernel, BuiltFor::kAll);
}

cudaError_t fill(float* values, int64_t n, float value, cudaStream_t stream) {
  if (n <= 0) return cudaSuccess;
  const unsigned blocks = n_groups(n, kThreads);
  const Launch how{blocks < kMostBlocks ? blocks : kMostBlocks, kThreads, stream};
  return launch(fill_kernel, how, values, n, value);
}

}  // namespace mm2::kernels::cuda
