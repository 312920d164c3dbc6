#include "kernels/cuda/prefill/prefill.h"

#include <new>

#include "kernels/cuda/prefill/state.h"

namespace mm2::kernels::cuda {
namespace {

/// Both states share the scratch: neither leaves anything there between steps.
struct FastState {
  void* decode = nullptr;
  PrefillState prefill;

  explicit FastState(const DeviceStep& largest) : prefill(largest) {}
  ~FastState() {
    if (decode != nullptr) decode_ops()->free_state(decode);
  }
  FastState(const FastState&) = delete;
  FastState& operator=(const FastState&) = delete;
};

int64_t scratch_bytes(const ModelShape& shape, const DeviceLimits& limits) {
  const int64_t few = decode_ops()->scratch_bytes(shape, limits);
  const int64_t many = prefill_room(shape, limits, nullptr).bytes;
  return few > many ? few : many;
}

/// What stays between steps lies behind what both use.
int64_t with_resident_bytes(const ModelShape& shape, const DeviceLimits& limits) {
  return round_up(scratch_bytes(shape, limits), 256) + resident_bytes(shape);
}

cudaError_t make_with(const DecodeOptions& options, const DeviceStep& largest, void** state) {
  auto* made = new (std::nothrow) FastState(largest);
  if (made == nullptr) return cudaErrorMemoryAllocation;
  cudaError_t error = make_decode_state(largest, options, &made->decode);
  if (error == cudaSuccess) error = made->prefill.prepare(largest);
  if (error != cudaSuccess) {
    delete made;
    return error;
  }
  *state = made;
  return cudaSuccess;
}

cudaError_t make_state(const DeviceStep& largest, void** state) {
  return make_with(DecodeOptions{}, largest, state);
}

cudaError_t make_resident_state(const DeviceStep& largest, void** state) {
  DecodeOptions options;
  options.is_resident = true;
  options.resident_memory =
      largest.buffers.scratch + round_up(scratch_bytes(largest.shape(), largest.limits), 256);
  return make_with(options, largest, state);
}

void free_state(void* state) {
  delete static_cast<FastState*>(state);
}

/// The step as kernels/cuda/decode knows it.
DeviceStep for_decode(const DeviceStep& step) {
  DeviceStep few = step;
  few.state = static_cast<FastState*>(step.state)->decode;
  return few;
}

cudaError_t layers(const DeviceStep& step) {
  if (is_small(step)) return decode_ops()->layers(for_decode(step));
  return static_cast<FastState*>(step.state)->prefill.run_layers(step);
}

cudaError_t finish(const DeviceStep& step) {
  if (is_small(step)) return decode_ops()->finish(for_decode(step));
  return static_cast<FastState*>(step.state)->prefill.finish(step);
}

int64_t launches(const DeviceStep& step) {
  return is_small(step) ? decode_ops()->launches(for_decode(step)) : fast_launches(step);
}

}  // namespace

const char* fast_refuses(const DeviceWeights& weights, int32_t kv_number) {
  const ModelShape& s = weights.shape;
  if (choice_shared(s.hidden, s.n_experts) > 227 << 10)
    return "rows of the router that are too long";
  return decode_refuses(weights, kv_number);
}

const DeviceOps* fast_ops() {
  static const DeviceOps kOps = [] {
    DeviceOps ops{};
    ops.name = "fast";
    ops.scratch_bytes = scratch_bytes;
    ops.make_state = make_state;
    ops.free_state = free_state;
    ops.layers = layers;
    ops.finish = finish;
    ops.launches = launches;
    return ops;
  }();
  return &kOps;
}

const DeviceOps* resident_ops() {
  static const DeviceOps kOps = [] {
    DeviceOps ops = *fast_ops();
    ops.name = "resident";
    ops.scratch_bytes = with_resident_bytes;
    ops.make_state = make_resident_state;
    return ops;
  }();
  return &kOps;
}

}  // namespace mm2::kernels::cuda
