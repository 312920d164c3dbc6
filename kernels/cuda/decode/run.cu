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

}  // namespace

DecodeState::~DecodeState() {
  for (cudaGraphExec_t graph : {of_layers_, of_finish_[0], of_finish_[1]}) {
    if (graph != nullptr) (void)cudaGraphExecDestroy(graph);
  }
  if (uploaded_ != nullptr) (void)cudaEventDestroy(uploaded_);
  if (staging_ != nullptr) (void)cudaFreeHost(staging_);
}

cudaError_t DecodeState::prepare(cudaStream_t stream) {
  void* staging = nullptr;
  cudaError_t error = cudaHostAlloc(&staging, sizeof(StepInput), cudaHostAllocDefault);
  staging_ = static_cast<StepInput*>(staging);
  if (error == cudaSuccess) error = cudaEventCreateWithFlags(&uploaded_, cudaEventDisableTiming);
  if (error == cudaSuccess) error = prepare_products(head_.decoded);
  for (const LayerSteps& l : layers_) {
    for (const Compiled* p : {&l.qkv, &l.o, &l.gate_up, &l.down}) {
      if (error == cudaSuccess) error = prepare_products(p->decoded);
    }
  }
  // The stream of all streams cannot be captured: then every step launches its kernels.
  if (stream == nullptr || !options_.uses_graph) return error;
  if (error == cudaSuccess) {
    error = record(
        stream, [&] { return launch_layers(stream); }, &of_layers_);
  }
  for (int i = 0; i < 2; ++i) {
    if (error != cudaSuccess) return error;
    error = record(
        stream, [&] { return launch_finish(i != 0, stream); }, of_finish_ + i);
  }
  return error;
}

cudaError_t DecodeState::upload_input(const DeviceStep& step) {
  cudaError_t error = cudaEventSynchronize(uploaded_);
  if (error != cudaSuccess) return error;
  StepInput in{};
  in.n_tokens = step.n_tokens;
  in.n_rows = step.n_rows;
  for (int32_t r = 0; r < step.n_rows; ++r) {
    const DeviceRow& row = step.host_rows[r];
    in.first_token[r] = row.first_token;
    in.row_tokens[r] = row.n_tokens;
    in.first_block[r] = row.first_block;
    for (int32_t i = 0; i < row.n_tokens; ++i) {
      in.positions[row.first_token + i] = row.first_position + i;
      if (i >= row.n_tokens - row.n_outputs) in.outputs[in.n_outputs++] = row.first_token + i;
    }
  }
  memcpy(staging_, &in, sizeof(in));
  error = cudaMemcpyAsync(at_.input, staging_, sizeof(in), cudaMemcpyHostToDevice, step.stream);
  return error != cudaSuccess ? error : cudaEventRecord(uploaded_, step.stream);
}

cudaError_t DecodeState::launch_product(const Compiled& p, cudaStream_t stream) const {
  const int32_t n_blocks = options_.n_multiprocessors * options_.blocks_per_multiprocessor;
  return run_product(p.step, p.decoded, n_blocks, options_.overlaps, stream);
}

cudaError_t DecodeState::launch_layers(cudaStream_t stream) const {
  const bool overlaps = options_.overlaps;
  // What is before it is a copy, not a kernel.
  cudaError_t error = run_begin(begin_, false, stream);
  const auto then = [&](const Compiled& p) {
    if (error == cudaSuccess) error = launch_product(p, stream);
  };
  for (const LayerSteps& l : layers_) {
    then(l.qkv);
    if (error == cudaSuccess) {
      error = run_attention(l.attention, options_.n_multiprocessors, overlaps, stream);
    }
    then(l.o);
    if (error == cudaSuccess) error = run_router(l.router, overlaps, stream);
    then(l.gate_up);
    then(l.down);
  }
  return error;
}

cudaError_t DecodeState::launch_finish(bool wants_logits, cudaStream_t stream) const {
  const cudaError_t error = run_end(end_, false, stream);
  if (error != cudaSuccess || !wants_logits) return error;
  return launch_product(head_, stream);
}

cudaError_t DecodeState::run_layers(const DeviceStep& step) {
  const cudaError_t error = upload_input(step);
  if (error != cudaSuccess) return error;
  return of_layers_ != nullptr ? cudaGraphLaunch(of_layers_, step.stream)
                               : launch_layers(step.stream);
}

cudaError_t DecodeState::finish(const DeviceStep& step) {
  const int i = step.n_outputs > 0 ? 1 : 0;
  return of_finish_[i] != nullptr ? cudaGraphLaunch(of_finish_[i], step.stream)
                                  : launch_finish(i != 0, step.stream);
}

}  // namespace mm2::kernels::cuda
