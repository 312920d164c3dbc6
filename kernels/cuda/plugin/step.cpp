// A step from the host's arrays to the host's arrays.
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/plugin/engine.h"

namespace mm2::kernels::cuda {
namespace {

/// Steps of more tokens are asked for an interrupt between layers; others are started as a whole.
constexpr int32_t kQuickTokens = 8;

/// Everything a step's hooks need.
struct Running {
  DeviceEngine* engine;
  const StepPlan* plan;
  DeviceError* error;
};

int32_t check_plan(const DeviceEngine& e, const StepPlan& plan, DeviceError* error) {
  const DeviceEngineOptions& o = e.options;
  if (plan.n_rows < 1 || plan.n_rows > o.max_rows || plan.n_tokens < 1 ||
      plan.n_tokens > o.max_tokens || plan.n_outputs < 0 || plan.n_outputs > o.max_outputs) {
    return refuse(error, kDeviceFailed,
                  "CUDA: a step of %d rows, %d tokens and %d outputs, the engine is for %d, %d and "
                  "%d",
                  plan.n_rows, plan.n_tokens, plan.n_outputs, o.max_rows, o.max_tokens,
                  o.max_outputs);
  }
  if (plan.activations != kBF16 && plan.activations != kF32) {
    return refuse(error, kDeviceUnsupported,
                  "CUDA: no kernels for activations of number %d; there are some for BF16 and F32",
                  plan.activations);
  }
  const int32_t n_vocab = e.model->weights.shape.n_vocab;
  for (int32_t t = 0; t < plan.n_tokens; ++t) {
    if (plan.tokens[t] < 0 || plan.tokens[t] >= n_vocab) {
      return refuse(error, kDeviceFailed, "CUDA: token %d of the step is %d of a vocabulary of %d",
                    t, plan.tokens[t], n_vocab);
    }
  }
  return kDeviceOk;
}

/// Fills the engine's pinned memory from the plan.
class Inputs {
 public:
  Inputs(DeviceEngine& e, const StepPlan& plan) : e_(e), plan_(plan) {}

  int32_t fill(DeviceError* error) {
    std::memcpy(ints(e_.room.tokens), plan_.tokens, static_cast<size_t>(plan_.n_tokens) * 4);
    std::memcpy(ints(e_.room.positions), plan_.positions, static_cast<size_t>(plan_.n_tokens) * 4);
    for (int32_t r = 0; r < plan_.n_rows; ++r) {
      const int32_t code = add_row(r, error);
      if (code != kDeviceOk) return code;
    }
    if (n_tokens_ != plan_.n_tokens || n_outputs_ != plan_.n_outputs) {
      return refuse(error, kDeviceFailed,
                    "CUDA: rows of %d tokens and %d outputs in a step of %d and %d", n_tokens_,
                    n_outputs_, plan_.n_tokens, plan_.n_outputs);
    }
    return kDeviceOk;
  }

  /// Bytes from the start of the pinned memory that the step reads.
  size_t bytes() const { return static_cast<size_t>(e_.room.blocks + n_blocks_ * 4); }

 private:
  int32_t* ints(int64_t at) { return reinterpret_cast<int32_t*>(e_.pinned + at); }

  int32_t add_row(int32_t r, DeviceError* error) {
    const StepRow& row = plan_.rows[r];
    const int32_t block_size = e_.options.kv.block_size;
    const int64_t end = int64_t{row.first_position} + row.n_tokens;
    if (row.first_token != n_tokens_ || row.n_tokens < 1 || row.first_position < 0 ||
        row.n_tokens > plan_.n_tokens - n_tokens_ || end > e_.options.max_positions ||
        row.n_outputs < 0 || row.n_outputs > row.n_tokens ||
        row.n_outputs > plan_.n_outputs - n_outputs_) {
      return refuse(error, kDeviceFailed,
                    "CUDA: row %d of the step: %d tokens from %d on, positions from %d on (at most "
                    "%d), %d outputs",
                    r, row.n_tokens, row.first_token, row.first_position, e_.options.max_positions,
                    row.n_outputs);
    }
    const int64_t n = (end + block_size - 1) / block_size;
    auto* rows = reinterpret_cast<DeviceRow*>(e_.pinned + e_.room.rows);
    rows[r] = {row.first_token, row.n_tokens, row.first_position, row.n_outputs,
               static_cast<int32_t>(n_blocks_)};
    for (int64_t i = 0; i < n; ++i) {
      if (row.blocks[i] < 0 || row.blocks[i] >= e_.options.n_blocks) {
        return refuse(error, kDeviceFailed, "CUDA: block %lld of row %d is %d of %d",
                      static_cast<long long>(i), r, row.blocks[i], e_.options.n_blocks);
      }
      ints(e_.room.blocks)[n_blocks_++] = row.blocks[i];
    }
    for (int32_t i = 0; i < row.n_tokens; ++i) {
      if (plan_.positions[n_tokens_] != row.first_position + i) {
        return refuse(error, kDeviceFailed, "CUDA: token %d of the step is at position %d, not %d",
                      n_tokens_, plan_.positions[n_tokens_], row.first_position + i);
      }
      ints(e_.room.token_rows)[n_tokens_++] = r;
      if (i >= row.n_tokens - row.n_outputs) {
        ints(e_.room.output_tokens)[n_outputs_++] = row.first_token + i;
      }
    }
    return kDeviceOk;
  }

  DeviceEngine& e_;
  const StepPlan& plan_;
  int32_t n_tokens_ = 0, n_outputs_ = 0;
  int64_t n_blocks_ = 0;
};

// Asks the host whether to go on, at most two layers ahead of the device.
int32_t before_layer(void* self, int32_t layer) {
  const Running& running = *static_cast<Running*>(self);
  const StepPlan& plan = *running.plan;
  if (plan.interrupted == nullptr) return kDeviceOk;
  DeviceEngine* e = running.engine;
  if (plan.n_tokens > kQuickTokens) {
    const cudaEvent_t event = e->layers[layer % 2];
    cudaError_t result = cudaSuccess;
    if (layer >= 2) result = cudaEventSynchronize(event);
    if (result == cudaSuccess) result = cudaEventRecord(event, e->stream);
    const int32_t code =
        judge(result, running.error, &e->device->lost, "layer %d of a step", layer);
    if (code != kDeviceOk) return code;
  }
  if (plan.interrupted(plan.interrupted_self) == 0) return kDeviceOk;
  return refuse(running.error, kDeviceInterrupted, "CUDA: the step was interrupted");
}

// Values of the device as the observer wants them.
int32_t show(void* self, const char* name, int32_t layer, const void* values, int32_t number,
             int64_t n_rows, int64_t width) {
  const Running& running = *static_cast<Running*>(self);
  const Observer& observer = *running.plan->observer;
  const int64_t n_bytes = n_rows * width * bytes_of(number);
  void* host = std::malloc(static_cast<size_t>(n_bytes));
  if (host == nullptr)
    return refuse(running.error, kDeviceOutOfMemory, "CUDA: no memory of the host");
  const DeviceEngine* e = running.engine;
  cudaError_t result = cudaMemcpyAsync(host, values, static_cast<size_t>(n_bytes),
                                       cudaMemcpyDeviceToHost, e->stream);
  const cudaError_t waited = cudaStreamSynchronize(e->stream);
  if (result == cudaSuccess) result = waited;
  const int32_t code = judge(result, running.error, &e->device->lost, "%s of a step", name);
  if (code == kDeviceOk) observer.see(observer.self, name, layer, host, number, n_rows, width);
  std::free(host);
  return code;
}

cudaError_t fetch(DeviceEngine* e, const StepPlan& plan, bool wants_logits) {
  cudaError_t result =
      cudaMemcpyAsync(e->pinned + e->room.inputs_end, e->step.row_results,
                      static_cast<size_t>(plan.n_rows) * 4, cudaMemcpyDeviceToHost, e->stream);
  if (result != cudaSuccess || !wants_logits) return result;
  const auto n = static_cast<size_t>(plan.n_outputs) *
                 static_cast<size_t>(e->model->weights.shape.n_vocab) * 4;
  return cudaMemcpyAsync(plan.logits, e->step.buffers.logits, n, cudaMemcpyDeviceToHost, e->stream);
}

// Ids of all layers, after the step.
int32_t show_ids(Running* running) {
  const ModelShape& s = running->engine->model->weights.shape;
  const int64_t n_tokens = running->plan->n_tokens;
  for (int32_t layer = 0; layer < s.n_layers; ++layer) {
    const int32_t* ids = running->engine->step.buffers.ids + layer * n_tokens * s.top_k;
    const int32_t code = show(running, "topk_ids", layer, ids, kI32, n_tokens, s.top_k);
    if (code != kDeviceOk) return code;
  }
  return kDeviceOk;
}

}  // namespace

int32_t step(DeviceEngine* e, const StepPlan* plan, DeviceError* error) {
  int32_t code = check_usable(*e->device, error);
  if (code == kDeviceOk) code = check_plan(*e, *plan, error);
  if (code != kDeviceOk) return code;
  e->last = {};  // its rows are overwritten
  Inputs inputs(*e, *plan);
  code = inputs.fill(error);
  if (code != kDeviceOk) return code;

  const Current current(*e->device);
  const bool wants_logits = plan->logits != nullptr && plan->n_outputs > 0;
  DeviceStep step = e->step;
  step.n_rows = plan->n_rows;
  step.n_tokens = plan->n_tokens;
  step.n_outputs = wants_logits ? plan->n_outputs : 0;
  step.activations = plan->activations;
  const Tables tables = tables_of_step(e->tables, plan->activations);
  Running running{e, plan, error};
  const bool shows = plan->observer != nullptr && plan->observes_all != 0;
  const WalkHooks hooks{&running, before_layer, shows ? show : nullptr};
  cudaError_t result =
      cudaMemcpyAsync(e->memory, e->pinned, inputs.bytes(), cudaMemcpyHostToDevice, e->stream);
  if (result == cudaSuccess) code = walk(tables, step, hooks, &result);
  if (result == cudaSuccess && code == kDeviceOk) result = fetch(e, *plan, wants_logits);
  // Whatever was started ends before the host may use its memory again.
  const cudaError_t waited = cudaStreamSynchronize(e->stream);
  if (result == cudaSuccess) result = waited;
  if (result != cudaSuccess) {
    return judge(result, error, &e->device->lost, "a step of %d tokens on device %d",
                 plan->n_tokens, e->device->index);
  }
  if (code != kDeviceOk) return code;
  std::memcpy(plan->row_results, e->pinned + e->room.inputs_end,
              static_cast<size_t>(plan->n_rows) * 4);
  if (plan->observer != nullptr && !shows) code = show_ids(&running);
  e->last = {plan->n_tokens, plan->n_rows, step.n_outputs, plan->activations};
  return code;
}

}  // namespace mm2::kernels::cuda
