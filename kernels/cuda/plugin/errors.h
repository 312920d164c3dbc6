// How a call fails: a code, the runtime's own number, one sentence.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>

#include "kernels/api/device.h"

namespace mm2::kernels::cuda {

/// Fills `error`, which may be null, and returns the code.
int32_t refuse(DeviceError* error, int32_t code, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

/// What the runtime's error means: whether the device is lost, memory is missing, there is none.
int32_t code_of(cudaError_t error);

/// kDeviceOk for cudaSuccess; else fills `error` with `what` and the runtime's words. A failure that
/// every later call would have is remembered in `lost`, if given. Forgets the runtime's last error.
int32_t judge(cudaError_t result, DeviceError* error, std::atomic<int32_t>* lost,
              const char* format, ...) __attribute__((format(printf, 4, 5)));

}  // namespace mm2::kernels::cuda
