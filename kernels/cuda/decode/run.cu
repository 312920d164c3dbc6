// How a step is done: its input, its launches, its graphs.
#include <string.h>

#include "kernels/cuda/decode/state.h"

namespace mm2::kernels::cuda {
namespace {

/// A graph of what `launches` starts on the stream.
template <typename F>
cudaError_t record(cudaStream_t stream, F launches, cudaGraphExec_t* exec) {
  cudaError_t error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) return error;
  error = launches();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  if (error == cudaSuccess) error = ended;
  if (error == cudaSuccess) error = cudaGraphInstantiate(exec, graph, 0);
  if (graph != nullptr) (void)cudaGraphDestroy(graph);
  return error;
}

/// Tokens [base, base + 8) of the step.
StepInput slice_of(const DeviceStep& step, int32_t base) {
  StepInput in{};
  in.base = base;
  in.step_tokens = step.n_tokens;
  const int32_t left = step.n_tokens - base;
  in.n_tokens = left < kDecodeTokens ? left : kDecodeTokens;
  for (int32_t r = 0; r < step.n_rows; ++r) {
    const DeviceRow& row = step.host_rows[r];
    const int32_t from = row.first_token > base ? row.first_token : base;
    const int32_t row_end = row.first_token + row.n_tokens, end = base + in.n_tokens;
    const int32_t to = row_end < end ? row_end : end;
    if (from >= to) continue;
    in.first_token[in.n_rows] = from - base;
    in.row_tokens[in.n_rows] = to - from;
    in.first_block[in.n_rows++] = row.first_block;
    for (int32_t t = from; t < to; ++t) {
      in.positions[t - base] = row.first_position + t - row.first_token;
    }
  }
  return in;
}

}  // namespace

DecodeState::~DecodeState() {
  if (of_layers_ != nullptr) (void)cudaGraphExecDestroy(of_layers_);
  if (uploaded_ != nullptr) (void)cudaEventDestroy(uploaded_);
  if (staging_ != nullptr) (void)cudaFreeHost(staging_);
}

cudaError_t DecodeState::prepare(cudaStream_t stream) {
  void* staging = nullptr;
  cudaError_t error = cudaHostAlloc(&staging, static_cast<size_t>(n_staged_) * sizeof(StepInput),
                                    cudaHostAllocDefault);
  staging_ = static_cast<StepInput*>(staging);
  if (error == cudaSuccess) error = cudaEventCreateWithFlags(&uploaded_, cudaEventDisableTiming);
  if (error == cudaSuccess) error = prepare_products(head_.decoded);
  for (const LayerSteps& l : layers_) {
    for (const Compiled* p : {&l.qkv, &l.o, &l.gate_up, &l.down}) {
      if (error == cudaSuccess) error = prepare_products(p->decoded);
    }
  }
  if (error == cudaSuccess && options_.is_resident) error = prepare_resident(stream);
  // The stream of all streams cannot be captured: then every step launches its kernels.
  if (error != cudaSuccess || stream == nullptr || !options_.uses_graph || is_resident()) {
    return error;
  }
  return record(
      stream, [&] { return launch_layers(stream); }, &of_layers_);
}

/// Leaves n_staying_ at 0 where the kernel cannot run: that is no error.
cudaError_t DecodeState::prepare_resident(cudaStream_t stream) {
  if (!plan_resident(layers_.data(), shape_.n_layers, kResidentShared, &resident_)) {
    return cudaSuccess;
  }
  int32_t n_blocks = 0;
  cudaError_t error = resident_blocks(resident_, options_.blocks_per_multiprocessor,
                                      options_.n_multiprocessors, &n_blocks);
  if (error != cudaSuccess || n_blocks == 0) return error;
  const ResidentRoom room = resident_room(shape_, options_.resident_memory);
  for (LayerSteps& l : layers_) {
    l.attention.part_sums = room.part_sums;
    l.attention.part_tops = room.part_tops;
    l.attention.part_counters = at_.part_counters;
  }
  error = cudaMemcpyAsync(room.layers, layers_.data(), layers_.size() * sizeof(LayerSteps),
                          cudaMemcpyHostToDevice, stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  resident_.layers = room.layers;
  resident_.n_layers = shape_.n_layers;
  resident_.met = at_.met;
  n_staying_ = n_blocks;
  return error;
}

cudaError_t DecodeState::upload(const StepInput& in, cudaStream_t stream) {
  if (n_used_ == n_staged_) return cudaErrorInvalidValue;  // more tokens than the engine's limits
  StepInput* from = staging_ + n_used_++;
  memcpy(from, &in, sizeof(in));
  const cudaError_t error =
      cudaMemcpyAsync(at_.input, from, sizeof(in), cudaMemcpyHostToDevice, stream);
  return error != cudaSuccess ? error : cudaEventRecord(uploaded_, stream);
}

cudaError_t DecodeState::launch_product(const Compiled& p, bool overlaps,
                                        cudaStream_t stream) const {
  const int32_t n_blocks = options_.n_multiprocessors * options_.blocks_per_multiprocessor;
  return run_product(p.step, p.decoded, n_blocks, overlaps, stream);
}

cudaError_t DecodeState::launch_layers(cudaStream_t stream) const {
  const bool overlaps = options_.overlaps;
  // What is before it is a copy, not a kernel.
  cudaError_t error = run_begin(begin_, false, stream);
  if (is_resident()) {
    return error != cudaSuccess ? error : run_resident(resident_, n_staying_, stream);
  }
  const auto then = [&](const Compiled& p) {
    if (error == cudaSuccess) error = launch_product(p, overlaps, stream);
  };
  for (const LayerSteps& l : layers_) {
    if ((options_.parts & kAttentionPart) != 0) {
      then(l.qkv);
      if (error == cudaSuccess) {
        error = run_attention(l.attention, options_.n_multiprocessors, overlaps, stream);
      }
      then(l.o);
    }
    if ((options_.parts & kExpertsPart) == 0) continue;
    if (error == cudaSuccess) error = run_router(l.router, overlaps, stream);
    then(l.gate_up);
    then(l.down);
  }
  return error;
}

cudaError_t DecodeState::run_layers(const DeviceStep& step) {
  cudaError_t error = cudaEventSynchronize(uploaded_);
  n_used_ = 0;
  for (int32_t base = 0; base < step.n_tokens && error == cudaSuccess; base += kDecodeTokens) {
    if (base > 0 && step.stops != nullptr && step.stops(step.stops_self, 1) != 0) break;
    error = upload(slice_of(step, base), step.stream);
    if (error != cudaSuccess) break;
    error = of_layers_ != nullptr ? cudaGraphLaunch(of_layers_, step.stream)
                                  : launch_layers(step.stream);
  }
  return error;
}

cudaError_t DecodeState::finish(const DeviceStep& step) {
  cudaError_t error = run_end(end_, step.n_rows, step.stream);
  if (step.n_outputs == 0) return error;  // though rows may have some
  StepInput in{};
  const auto flush = [&] {
    if (in.n_outputs == 0 || error != cudaSuccess) return;
    error = upload(in, step.stream);
    // What is before it is a copy, not a kernel.
    if (error == cudaSuccess) error = launch_product(head_, false, step.stream);
    in.first_output += in.n_outputs;
    in.n_outputs = 0;
  };
  for (int32_t r = 0; r < step.n_rows; ++r) {
    const DeviceRow& row = step.host_rows[r];
    for (int32_t i = row.n_tokens - row.n_outputs; i < row.n_tokens; ++i) {
      in.outputs[in.n_outputs++] = row.first_token + i;
      if (in.n_outputs == kDecodeTokens) flush();
    }
  }
  flush();
  return error;
}

}  // namespace mm2::kernels::cuda
