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

cudaError_t make_state(const DeviceStep& largest, void** state) {
  auto* made = new (std::nothrow) FastState(largest);
  if (made == nullptr) return cudaErrorMemoryAllocation;
  cudaError_t error = decode_ops()->make_state(largest, &made->decode);
  if (error == cudaSuccess) error = made->prefill.prepare(largest);
  if (error != cudaSuccess) {
    delete made;
    return error;
  }
  *state = made;
  return cudaSuccess;
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
    return ops;
  }();
  return &kOps;
}

}  // namespace mm2::kernels::cuda
