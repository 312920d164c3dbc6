// What a calibration found, as tensors of a safetensors file:
//
//   layers.L.tokens                 I64 [1]          tokens counted
//   layers.L.expert_tokens          I64 [n_experts]  tokens sent to each expert
//   layers.L.weight_sum             F64 [n_experts]  routing weights
//   layers.L.norm_sum               F64 [n_experts]  norms of outputs before their weights
//   layers.L.weighted_norm_sum      F64 [n_experts]  weight * norm
//   layers.L.weighted_square_sum    F64 [n_experts]  (weight * norm)^2
//   layers.L.largest_norm           F64 [n_experts]
//   layers.L.largest_activation     F64 [n_experts]
//   layers.L.IN.squares             F64 [width] or [n_experts, width]  sums of squares of inputs
//   layers.L.IN.sizes               F64 likewise: sums of sizes
//   layers.L.IN.amax                F32 [1] or [n_experts]
//   layers.L.IN.hessian             F32 [width, width] or [n_experts, width, width]  sums of x x^T
//   layers.L.k_amax, v_amax         F32 [n_kv_heads]
//
// IN: attention_in (of q, k, v), o_in, w1_in (of w1 and w3), w2_in. The sums of w1_in and w2_in are
// over expert_tokens, the others over tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/host.h"
#include "base/status.h"
#include "format/atomic_writer.h"
#include "format/safetensors.h"
#include "tools/calibrate/observation.h"

namespace mm2 {

/// Tensors with their bytes.
struct StatTensor {
  OutputTensor head;
  std::vector<std::byte> bytes;
};
std::vector<StatTensor> stat_tensors(int32_t layer, const LayerObservation& seen,
                                     const CollectOptions& options);

Status write_stats(const std::string& path, std::span<const StatTensor> tensors,
                   const SafetensorsMetadata& metadata);

/// A finished calibration, read as it is asked for.
class CalibrationStats {
 public:
  /// Code::format when the file is not one.
  static Result<std::shared_ptr<CalibrationStats>> open(const std::string& path, const Host& host);

  int32_t n_layers() const { return n_layers_; }
  int32_t n_experts() const { return n_experts_; }
  /// Of the token counts and norms of all layers: two calibrations of the same one do not differ.
  Result<std::string> digest() const;
  /// Of one metadata field; empty when there is none.
  std::string metadata(std::string_view key) const;
  /// [n_experts] of layer; Code::not_found names what was not collected.
  Result<std::vector<double>> saliency(int32_t layer, SaliencyMethod method) const;
  /// Sums of one layer: "expert_tokens", "weight_sum", ...; integers as doubles.
  Result<std::vector<double>> numbers(int32_t layer, std::string_view what) const;
  /// Row `expert` (-1: the whole) of "attention_in.squares" and the like, as F64.
  Result<std::vector<double>> row(int32_t layer, std::string_view what, int32_t expert) const;
  bool has(int32_t layer, std::string_view what) const;

 private:
  CalibrationStats() = default;
  std::shared_ptr<SafetensorsFile> file_;
  int32_t n_layers_ = 0, n_experts_ = 0;
};

}  // namespace mm2
