// Steps of any number of tokens on the fast kernels: those of kernels/cuda/decode where they take the step,
// else products of many tokens. A sequence's bits are the same either way.
#pragma once

#include "kernels/cuda/decode/decode.h"
#include "kernels/cuda/decode/plan.h"

namespace mm2::kernels::cuda {

/// Why the fast kernels cannot run such a model, or null.
const char* fast_refuses(const DeviceWeights& weights, int32_t kv_number);

/// cudaErrorNoKernelImageForDevice where the current device is not one that the fast kernels are for.
cudaError_t fast_has_code();

/// Whether kernels/cuda/decode runs the step at once.
inline bool is_small(const DeviceStep& step) {
  return step.n_tokens <= kDecodeTokens && step.n_rows <= kDecodeTokens;
}

/// Kernels that a step starts that is not small, and bytes of keys and values that any step of the fast
/// kernels reads. Of its device memory nothing is looked at.
int64_t fast_launches(const DeviceStep& step);
int64_t fast_kv_bytes(const DeviceStep& step);

/// `layers` and `finish`, with their state, for every step with activations of kBF16.
const DeviceOps* fast_ops();
/// The same, with DecodeOptions::is_resident.
const DeviceOps* resident_ops();

}  // namespace mm2::kernels::cuda
