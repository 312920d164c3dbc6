// Streams do at once what they are given, unless they are being captured. Inside the emulator only.
#pragma once

#include <stdint.h>

#include <functional>

#include "cuda_emulator/cuda_runtime_api.h"

namespace cuda_emulator {

/// Does it now, or keeps it for the graph that the stream is capturing.
cudaError_t in_stream(cudaStream_t stream, std::function<cudaError_t()> what);

void count_stream(int64_t streams, int64_t events);
/// An error where the device is lost or was never there; becomes this thread's last error.
cudaError_t state_of_device();

}  // namespace cuda_emulator
