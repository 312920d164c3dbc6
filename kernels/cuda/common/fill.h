#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

namespace mm2::kernels::cuda {

/// values[i] = value for i < n.
cudaError_t fill(float* values, int64_t n, float value, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
