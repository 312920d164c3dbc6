// Steps of up to 8 tokens on the fast kernels: six launches a layer, each of which may start while the
// one before it ends, in a graph that is made once for an engine.
#pragma once

#include "kernels/cuda/common/device_ops.h"

namespace mm2::kernels::cuda {

/// Why the fast kernels cannot run such a model, or null.
const char* decode_refuses(const DeviceWeights& weights, int32_t kv_number);

/// Whether decode_ops runs a step of a model that is not refused. One of more than 8 tokens is done in
/// slices of 8, each of which reads the weights anew: with the bits of any other cut, but slowly.
bool decode_takes(const DeviceStep& step);

/// `layers` and `finish`, and what belongs to them. The state is of make_state; scratch is used from its
/// start and holds nothing between steps.
const DeviceOps* decode_ops();

/// Halves of a layer, bits of DecodeOptions::parts.
enum DecodeParts : int32_t { kAttentionPart = 1, kExpertsPart = 2, kAllParts = 3 };

/// How the launcher does it; the results have the same bits. Of the state, before its first step or
/// between steps.
struct DecodeOptions {
  int32_t blocks_per_multiprocessor = 2;  // of threads, in products
  int32_t n_multiprocessors = 0;          // 0: DeviceLimits::n_multiprocessors
  bool overlaps = true;                   // kernels start before the one before them ends
  bool uses_graph = true;
  bool asks_ahead = true;     // the next layer's attention weights, while experts are being chosen
  int32_t parts = kAllParts;  // other kernels are left out: to measure some by themselves
  // All layers are one launch whose blocks stay (resident.h), where the device can keep them; else a launch
  // for each kernel. Needs memory of resident_bytes for as long as the state lives.
  bool is_resident = false;
  char* resident_memory = nullptr;
};
int64_t resident_bytes(const ModelShape& shape);
cudaError_t make_decode_state(const DeviceStep& largest, const DecodeOptions& options,
                              void** state);

}  // namespace mm2::kernels::cuda
