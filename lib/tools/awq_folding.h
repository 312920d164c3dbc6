// AWQ of a whole checkpoint: scales of input channels, and what they are folded into, so that the model
// computes the same and every loader reads it.
//
//   q, k, v          read input_layernorm: its weights are divided by the scale
//   w1, w3, router   of a layer read post_attention_layernorm: one scale for all experts
//   w2               reads silu(w1 x) * (w3 x): rows of w3 are divided by it, one scale for each expert
//   o_proj           has none: several heads of queries share a row of v
//
// A norm keeps its type. What its division really came to, after rounding, is the scale of what reads it:
// nothing but the rounding of codes changes the model.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/executor.h"
#include "tools/calibrate/stats.h"
#include "tools/quantize/awq.h"
#include "tools/stream/checkpoint_view.h"

namespace mm2 {

class AwqFolding {
 public:
  /// Which matrices will be quantized: a scale is left out (1) where one that reads the same inputs is
  /// not, or where no token came by.
  using Takes = std::function<bool(const ViewWeight&)>;

  /// Searches all scales, a layer at a time: reads all matrices twice. Code::invalid_argument where the
  /// statistics lack inputs, Code::cancelled where the host's progress says so.
  static Result<AwqFolding> find(const CheckpointView& view, const CalibrationStats& stats,
                                 const IntOptions& codes, const Takes& takes, Executor& executor,
                                 const Host& host);
  /// Scales of 1 everywhere.
  explicit AwqFolding(const CheckpointView& view);

  /// Whether the weight is another one now.
  bool changes(const ViewWeight& weight) const;
  /// Rows as view.rows gives them, folded, each number rounded once to F32. Of norms: numbers of the
  /// stored type.
  Status rows(const CheckpointView& view, const ViewWeight& weight, int64_t first_row,
              int64_t n_rows, float* to) const;
  /// Sets of matrices that have a scale.
  size_t n_scaled() const { return n_scaled_; }

 private:
  using Scales = std::vector<double>;  // of columns; empty: 1
  struct Layer {
    Scales attention, experts;
    std::vector<float> input_norm, post_attention_norm;  // folded; empty where nothing changes
    std::vector<Scales> w2;                              // of each expert
  };
  class Search;

  std::span<const double> columns(const WeightPlace& place) const;
  std::span<const double> divided_rows(const WeightPlace& place) const;

  std::vector<Layer> layers_;
  size_t n_scaled_ = 0;
};

}  // namespace mm2
