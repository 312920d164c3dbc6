// A model run over many tokens one layer at a time: all samples through a layer, then the next one, so
// that weights are read once and only some of one layer are in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "kernels/api/backend.h"
#include "model/weight_plan.h"
#include "tensor/buffer.h"
#include "tools/calibrate/observation.h"
#include "tools/calibrate/samples.h"
#include "tools/stream/checkpoint_view.h"

namespace mm2 {

class LayerWalk {
 public:
  /// `view` and `samples` outlive it. Activations enter products in F32, keys and values stay F32: what
  /// is counted is the model, not a way of running it. Code::out_of_memory.
  static Result<std::unique_ptr<LayerWalk>> create(const CheckpointView& view,
                                                   const TokenSamples& samples,
                                                   std::shared_ptr<Executor> executor,
                                                   const Host& host);

  int64_t n_tokens() const { return static_cast<int64_t>(samples_.n_tokens()); }
  /// Bytes of the buffers, about, without those of the caller and of the observations.
  static uint64_t memory(const CheckpointView& view, const TokenSamples& samples);

  /// hidden [n_tokens, hidden]: the embeddings.
  Status embed(std::span<float> hidden) const;
  /// Takes hidden through a layer, in place. Code::numeric when numbers are not finite.
  Status layer(int32_t layer, std::span<float> hidden, const CollectOptions& options,
               LayerObservation& seen);

 private:
  LayerWalk(const CheckpointView& view, const TokenSamples& samples)
      : view_(view), samples_(samples) {}
  Status take_memory();
  void attention_half(const kernels::LayerWeights& weights, size_t sample, std::span<float> hidden,
                      const CollectOptions& options, LayerObservation& seen);
  void route(const kernels::LayerWeights& weights, std::span<const float> hidden);
  void run_expert(const kernels::ExpertWeights& weights, int32_t expert, std::span<float> hidden,
                  const CollectOptions& options, LayerObservation& seen);
  Status count_experts(LayerObservation& seen) const;

  const CheckpointView& view_;
  const TokenSamples& samples_;
  std::shared_ptr<Executor> executor_;
  kernels::Executor kernel_executor_{};
  Host host_;
  const kernels::Backend* backend_ = nullptr;
  kernels::ModelShape shape_{};
  DescribedWeights described_;
  std::vector<std::vector<uint32_t>> routed_;  // of each expert: token * top_k + place

  // Of all tokens.
  std::vector<float> x_;                     // [n_tokens, hidden] after the second norm
  std::vector<int32_t> ids_;                 // [n_tokens, top_k]
  std::vector<float> weights_;               // [n_tokens, top_k]
  std::vector<double> norms_, activations_;  // [n_tokens, top_k] of the experts' outputs
  // Of a chunk of tokens.
  std::vector<float> chunk_x_, chunk_y_, q_, kv_work_, attention_, rope_, gate_, up_;
  Buffer kv_memory_, scratch_;
  std::vector<int32_t> blocks_;
};

}  // namespace mm2
