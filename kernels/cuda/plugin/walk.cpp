// The order of a step: the model's operations, each by the first table that has it.
#include "kernels/cuda/plugin/engine.h"
#include "kernels/cuda/simple/simple.h"

namespace mm2::kernels::cuda {
namespace {

class Walk {
 public:
  Walk(const Tables& tables, const DeviceStep& step, const WalkHooks& hooks)
      : tables_(tables), step_(step), hooks_(hooks), buffers_(step_.buffers) {}

  void run() {
    step_.stops = stops;
    step_.stops_self = this;
    if (has<&DeviceOps::layers>()) {
      all_layers();
    } else {
      do_it<&DeviceOps::embed>(step_.weights->embedding, buffers_.h);
      do_it<&DeviceOps::rope_table>(buffers_.rope);
      show("hidden", 0, buffers_.h, kF32, step_.n_tokens, step_.shape().hidden);
      for (int32_t layer = 0; layer < step_.shape().n_layers && goes_on(); ++layer) {
        ask(layer);
        attention_half(layer);
        experts_half(layer);
        show("hidden", layer + 1, buffers_.h, kF32, step_.n_tokens, step_.shape().hidden);
      }
    }
    if (do_if_there<&DeviceOps::finish>()) return;
    start([&] { return judge_rows(step_); });
    if (step_.n_outputs > 0) logits();
  }

  int32_t code() const { return code_; }
  cudaError_t result() const { return result_; }

 private:
  bool goes_on() const { return code_ == kDeviceOk; }

  void ask(int32_t layer) {
    if (goes_on() && hooks_.before_layer != nullptr) {
      code_ = hooks_.before_layer(hooks_.self, layer);
    }
  }
  static int32_t stops(void* self, int32_t layer) {
    Walk* walk = static_cast<Walk*>(self);
    walk->ask(layer);
    return walk->goes_on() ? 0 : 1;
  }

  template <auto member>
  bool has() const {
    for (int32_t i = 0; i < tables_.n; ++i) {
      if (tables_.ops[i]->*member != nullptr) return true;
    }
    return false;
  }

  // One function for all layers: what lies between them is not shown.
  void all_layers() {
    const ModelShape& s = step_.shape();
    ask(0);
    if (!goes_on()) return;
    do_it<&DeviceOps::layers>();
    for (int32_t layer = 0; layer < s.n_layers; ++layer) {
      const int32_t* ids = buffers_.ids + int64_t{layer} * step_.n_tokens * s.top_k;
      show("topk_ids", layer, ids, kI32, step_.n_tokens, s.top_k);
    }
    show("hidden", s.n_layers, buffers_.h, kF32, step_.n_tokens, s.hidden);
  }

  template <typename F>
  void start(F function) {
    if (!goes_on()) return;
    result_ = function();
    if (result_ != cudaSuccess) code_ = kDeviceFailed;
  }

  // The first table that has the function runs it; false: none has.
  template <auto member, typename... Args>
  bool do_if_there(const Args&... args) {
    for (int32_t i = 0; i < tables_.n; ++i) {
      const auto function = tables_.ops[i]->*member;
      if (function == nullptr) continue;
      step_.state = tables_.states[i];
      start([&] { return function(step_, args...); });
      return true;
    }
    return false;
  }
  template <auto member, typename... Args>
  void do_it(const Args&... args) {
    (void)do_if_there<member>(args...);  // the last table has it
  }

  void show(const char* name, int32_t layer, const void* values, int32_t number, int64_t n_rows,
            int64_t width) {
    if (!goes_on() || hooks_.show == nullptr) return;
    code_ = hooks_.show(hooks_.self, name, layer, values, number, n_rows, width);
  }

  void attention_half(int32_t layer) {
    if (!goes_on() || do_if_there<&DeviceOps::attention_half>(layer)) return;
    const ModelShape& s = step_.shape();
    const DeviceLayer& w = step_.weights->layers[layer];
    const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
    do_it<&DeviceOps::rms_norm>(buffers_.h, w.input_norm, step_.n_tokens, s.hidden, buffers_.x);
    do_it<&DeviceOps::qkv>(layer, buffers_.x);
    show("q_rope", layer, buffers_.q, kF32, step_.n_tokens, q_width);
    show("kv", layer, buffers_.kv_work, kF32, step_.n_tokens,
         2 * int64_t{s.n_kv_heads} * s.head_dim);
    do_it<&DeviceOps::attention>(layer, buffers_.attn);
    show("attn_out", layer, buffers_.attn, kF32, step_.n_tokens, q_width);
    do_it<&DeviceOps::linear>(buffers_.attn, step_.n_tokens, w.o, buffers_.h, buffers_.h);
  }

  void experts_half(int32_t layer) {
    const ModelShape& s = step_.shape();
    const DeviceLayer& w = step_.weights->layers[layer];
    int32_t* ids = buffers_.ids + int64_t{layer} * step_.n_tokens * s.top_k;
    if (!goes_on()) return;
    if (!do_if_there<&DeviceOps::experts_half>(layer)) {
      do_it<&DeviceOps::rms_norm>(buffers_.h, w.post_attention_norm, step_.n_tokens, s.hidden,
                                  buffers_.x);
      show("expert_in", layer, buffers_.x, kF32, step_.n_tokens, s.hidden);
      do_it<&DeviceOps::router>(layer, buffers_.x, ids, buffers_.weights);
      show("topk_ids", layer, ids, kI32, step_.n_tokens, s.top_k);
      show("topk_weights", layer, buffers_.weights, kF32, step_.n_tokens, s.top_k);
      do_it<&DeviceOps::experts>(layer, buffers_.x, ids, buffers_.weights, buffers_.h);
    } else {
      show("topk_ids", layer, ids, kI32, step_.n_tokens, s.top_k);
    }
  }

  void logits() {
    const ModelShape& s = step_.shape();
    start([&] { return gather_outputs(step_); });
    do_it<&DeviceOps::rms_norm>(buffers_.outputs, step_.weights->final_norm, step_.n_outputs,
                                s.hidden, buffers_.outputs);
    show("final_norm", -1, buffers_.outputs, kF32, step_.n_outputs, s.hidden);
    const float* nothing = nullptr;
    do_it<&DeviceOps::linear>(buffers_.outputs, step_.n_outputs, step_.weights->lm_head, nothing,
                              buffers_.logits);
  }

  const Tables& tables_;
  DeviceStep step_;
  const WalkHooks& hooks_;
  const StepBuffers& buffers_;
  int32_t code_ = kDeviceOk;
  cudaError_t result_ = cudaSuccess;
};

}  // namespace

int32_t walk(const Tables& tables, const DeviceStep& step, const WalkHooks& hooks,
             cudaError_t* result) {
  Walk walk(tables, step, hooks);
  walk.run();
  *result = walk.result();
  return walk.code();
}

}  // namespace mm2::kernels::cuda
