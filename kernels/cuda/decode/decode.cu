#include "kernels/cuda/decode/decode.h"

#include <new>

#include "kernels/cuda/decode/state.h"

namespace mm2::kernels::cuda {
namespace {

bool is_multiplied(const DeviceMatrix& m) {
  return decoded(m.layout).decoding >= 0;
}

/// Whether one kernel multiplies both.
bool same_records(const DeviceMatrix& a, const DeviceMatrix& b) {
  const Records x = records_of(a.layout), y = records_of(b.layout);
  const Decoded d = decoded(a.layout), e = decoded(b.layout);
  return x.bytes == y.bytes && x.scales == y.scales && x.zeros == y.zeros && x.scale == y.scale &&
         x.shared == y.shared && d.decoding == e.decoding && d.chains == e.chains;
}

const char* layer_refuses(const ModelShape& s, const DeviceLayer& w) {
  for (const DeviceMatrix* m : {&w.q, &w.k, &w.v, &w.o}) {
    if (!is_multiplied(*m)) return "an attention weight has a format that only simple kernels know";
  }
  if (!same_records(w.q, w.k) || !same_records(w.q, w.v)) {
    return "q, k and v of a layer have different formats";
  }
  if (w.router.layout.codes != kFloats) return "a router is not F32";
  for (int32_t e = 0; e < s.n_experts; ++e) {
    const DeviceExpert &x = w.host_experts[e], &first = w.host_experts[0];
    if (!is_multiplied(x.gate) || !is_multiplied(x.down)) {
      return "an expert has a format that only simple kernels know";
    }
    if (!same_records(x.gate, x.up)) return "gate and up of an expert have different formats";
    if (!same_records(x.gate, first.gate) || !same_records(x.down, first.down)) {
      return "experts of a layer have different formats";
    }
  }
  return nullptr;
}

int64_t scratch_bytes(const ModelShape& shape, const DeviceLimits& limits) {
  return workspace_of(shape, limits.max_positions, nullptr).bytes;
}

cudaError_t make_state(const DeviceStep& largest, void** state) {
  return make_decode_state(largest, DecodeOptions{}, state);
}

void free_state(void* state) {
  delete static_cast<DecodeState*>(state);
}

cudaError_t layers(const DeviceStep& step) {
  return static_cast<DecodeState*>(step.state)->run_layers(step);
}

cudaError_t finish(const DeviceStep& step) {
  return static_cast<DecodeState*>(step.state)->finish(step);
}

int64_t launches(const DeviceStep& step) {
  return static_cast<const DecodeState*>(step.state)->n_launches(step.n_tokens, step.n_outputs);
}

}  // namespace

const char* decode_refuses(const DeviceWeights& w, int32_t kv_number) {
  const ModelShape& s = w.shape;
  if (!takes_heads(s, kv_number)) return "heads, or a cache, for which there is no fast kernel";
  if (s.hidden % 8 != 0 || s.intermediate % 8 != 0 || s.rotary_dim % 2 != 0 ||
      s.rotary_dim > kMostRotary) {
    return "sizes that are no multiples of 8";
  }
  if (s.top_k > kMostChoices || s.n_experts > kMostExperts) return "too many experts";
  const auto row_bytes = static_cast<int32_t>(round_up(s.hidden, kRecordCols) * 4);
  if (router_shared(row_bytes, s.n_experts) > static_cast<int32_t>(kSharedWithoutAsking)) {
    return "rows of the router that are too long";
  }
  if (!is_multiplied(w.lm_head)) return "the head has a format that only simple kernels know";
  for (int32_t l = 0; l < s.n_layers; ++l) {
    const char* why = layer_refuses(s, w.layers[l]);
    if (why != nullptr) return why;
  }
  return nullptr;
}

int64_t resident_bytes(const ModelShape& shape) {
  return resident_room(shape, nullptr).bytes;
}

bool decode_takes(const DeviceStep& step) {
  return step.n_tokens >= 1 && step.activations == kBF16;
}

cudaError_t make_decode_state(const DeviceStep& largest, const DecodeOptions& options,
                              void** state) {
  auto* made = new (std::nothrow) DecodeState(largest, options);
  if (made == nullptr) return cudaErrorMemoryAllocation;
  const cudaError_t error = made->prepare(largest.stream);
  if (error != cudaSuccess) {
    delete made;
    return error;
  }
  *state = made;
  return cudaSuccess;
}

const DeviceOps* decode_ops() {
  static const DeviceOps kOps = [] {
    DeviceOps ops{};
    ops.name = "decode";
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

}  // namespace mm2::kernels::cuda
