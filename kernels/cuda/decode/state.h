// What an engine keeps for decoding: the arguments of all launches, which never change, and their graphs.
// The host's side.
#pragma once

#include <vector>

#include "kernels/cuda/decode/decode.h"
#include "kernels/cuda/decode/resident.h"
#include "kernels/cuda/decode/workspace.h"

namespace mm2::kernels::cuda {

class DecodeState {
 public:
  DecodeState(const DeviceStep& largest, const DecodeOptions& options);
  ~DecodeState();
  DecodeState(const DecodeState&) = delete;
  DecodeState& operator=(const DecodeState&) = delete;

  /// All that a step must not take when it runs.
  cudaError_t prepare(cudaStream_t stream);

  cudaError_t run_layers(const DeviceStep& step);
  cudaError_t finish(const DeviceStep& step);
  /// Whether all layers are one launch: wanted, and the device can keep its blocks of threads.
  bool is_resident() const { return n_staying_ > 0; }
  int64_t n_launches(int32_t n_tokens, int32_t n_outputs) const {
    return step_launches(shape_, n_tokens, n_outputs, is_resident());
  }

 private:
  Compiled product(Task task, const DeviceMatrix* const* matrices, int32_t n, const Cut& cut) const;
  void add_layer(const DeviceStep& step, int32_t layer);
  void add_attention(const DeviceStep& step, int32_t layer, LayerSteps& to) const;
  cudaError_t launch_product(const Compiled& p, bool overlaps, cudaStream_t stream) const;
  cudaError_t launch_layers(cudaStream_t stream) const;
  cudaError_t prepare_resident(cudaStream_t stream);
  cudaError_t upload(const StepInput& in, cudaStream_t stream);

  ModelShape shape_;
  DecodeOptions options_;
  Workspace at_;
  float* h_;
  std::vector<LayerSteps> layers_;
  BeginStep begin_;
  EndStep end_;
  Compiled head_;
  int32_t n_staged_, n_used_ = 0;
  StepInput* staging_ = nullptr;    // pinned, [n_staged_]: of the slices of a step
  cudaEvent_t uploaded_ = nullptr;  // staging_ may be written again
  cudaGraphExec_t of_layers_ = nullptr;
  ResidentStep resident_{};
  int32_t n_staying_ = 0;  // blocks of threads, 0: a launch for each kernel
};

}  // namespace mm2::kernels::cuda
