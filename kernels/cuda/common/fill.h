#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

namespace mm2::kernels::cuda {

/// Whether the kernels that the plug-in holds are for the current device; cudaErrorNoKernelImageForDevice
/// where they are not.
cudaError_t can_run_kernels();

/// values[i] = value for i < n.
cudaError_t fill(float* values, int64_t n, float value, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
