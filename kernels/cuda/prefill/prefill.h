// Steps of any number of tokens on the fast kernels: those of kernels/cuda/decode where they take the step,
// else products of many tokens. A sequence's bits are the same either way.
#pragma once

#include "kernels/cuda/decode/decode.h"

namespace mm2::kernels::cuda {

/// Why the fast kernels cannot run such a model, or null.
const char* fast_refuses(const DeviceWeights& weights, int32_t kv_number);

/// cudaErrorNoKernelImageForDevice where the current device is not one that the fast kernels are for.
cudaError_t fast_has_code();

/// `layers` and `finish`, with their state, for every step with activations of kBF16.
const DeviceOps* fast_ops();
/// The same, with DecodeOptions::is_resident.
const DeviceOps* resident_ops();

}  // namespace mm2::kernels::cuda
