// What an engine keeps for steps of many tokens. The host's side.
#pragma once

#include <vector>

#include "kernels/cuda/decode/attention_step.h"
#include "kernels/cuda/decode/workspace.h"
#include "kernels/cuda/gemm/gemm.h"
#include "kernels/cuda/prefill/attention.h"
#include "kernels/cuda/prefill/rows.h"

namespace mm2::kernels::cuda {

/// StepBuffers::scratch of such a step.
struct PrefillRoom {
  float* qkv;          // [n_tokens, q and k and v]
  uint16_t* attended;  // [n_tokens, q]
  uint8_t* tiles;      // activations on their way into a product
  float* partials;
  uint8_t* experts;
  StepInput* inputs;   // [n_groups] of attention
  QueryTile* queries;  // [n_tiles] of attention
  uint16_t* q;         // [n_tokens, n_heads, kQueryWidth]
  float* tile_sums;
  float* sums;  // of chunks
  float2* tops;
  uint32_t* counters;
  int32_t n_counters, max_chunks, max_supers, max_groups;
  int64_t bytes;
};
PrefillRoom prefill_room(const ModelShape& s, const DeviceLimits& limits, char* base);

class PrefillState {
 public:
  explicit PrefillState(const DeviceStep& largest);
  ~PrefillState();
  PrefillState(const PrefillState&) = delete;
  PrefillState& operator=(const PrefillState&) = delete;

  cudaError_t prepare(const DeviceStep& largest);
  cudaError_t run_layers(const DeviceStep& step);
  cudaError_t finish(const DeviceStep& step);

 private:
  cudaError_t upload_groups(const DeviceStep& step);
  cudaError_t product(const DeviceStep& step, const DeviceMatrix& w, const Cut& cut,
                      int32_t n_tokens, const float* add, float* y, int64_t y_stride);
  cudaError_t attend(const DeviceStep& step, int32_t layer);
  cudaError_t attention_half(const DeviceStep& step, int32_t layer);
  cudaError_t experts_half(const DeviceStep& step, int32_t layer);

  ModelShape shape_;
  DecodeCuts cuts_;
  PrefillRoom at_;
  Rows rows_;
  int32_t n_processors_;
  StepInput* staging_ = nullptr;  // pinned, [max_groups]
  QueryTile* tiles_ = nullptr;    // pinned, [max_groups]
  int32_t n_tiles_ = 0;
  cudaEvent_t uploaded_ = nullptr;
  std::vector<int32_t> group_tokens_;  // first token of each group
};

}  // namespace mm2::kernels::cuda
