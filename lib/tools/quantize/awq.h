// AWQ: input channels are multiplied by a scale before rounding, and what comes before divides by it.
// How strongly is found by trying. The rules of llm-compressor; calculated in F64.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tools/quantize/quantize.h"

namespace mm2 {

/// What the matrices compute together: the loss is taken of this.
enum class AwqParent : uint8_t {
  linear,  // all outputs next to each other
  gated,   // two matrices: silu(first x) * (second x)
};

struct AwqOptions {
  AwqParent parent = AwqParent::linear;
  bool duo = true;   // the weights have a say, not only the inputs
  int n_grid = 20;   // candidates
  IntOptions codes;  // how weights will be rounded
};

/// One way of scaling: inputs to the power of `ratio`, with duo over weights to that of 1 - ratio.
struct AwqCandidate {
  double ratio = 0;
  bool duo = false;
};
/// With duo the first one changes nothing, and the others have one point less.
std::vector<AwqCandidate> awq_candidates(bool duo, int n_grid);

/// Adds to `sums` [n_cols] the size of each weight as part of the largest of its group, over all rows.
void add_weight_sizes(const WeightRows& rows, int64_t group, std::span<double> sums);

/// [n_cols] scales of a candidate from the mean sizes of inputs and weights.
std::vector<double> awq_scales(const AwqCandidate& candidate, std::span<const double> input_mean,
                               std::span<const double> weight_mean);

/// What scaling, rounding and scaling back changes in the outputs, squared and summed over rows and
/// tokens. `moments`: sums over tokens of x x' [n_cols, n_cols], or of x^2 alone [n_cols], which takes
/// inputs for uncorrelated.
Result<double> awq_moment_loss(const WeightRows& rows, std::span<const double> scales,
                               const IntOptions& codes, std::span<const float> moments);

struct AwqChoice {
  std::vector<double> scales;  // [n_cols]: weights times it, inputs divided by it
  double ratio = 0;
  bool duo = false;
  double loss = 0;             // mean squared difference of the outputs
  std::vector<double> losses;  // of all candidates, in the order in which they were tried
};

/// `weights`: matrices with the same inputs (w1 and w3; q, k and v), at least one; `inputs`
/// [n_tokens, n_cols]. The scale is shared by everything that reads these inputs: in a layer of experts
/// w1 and w3 of all of them and the router. The least loss wins, the first of equals. Code::numeric:
/// inputs or weights that are not finite, or no candidate whose loss is.
Result<AwqChoice> awq_search(std::span<const WeightRows> weights, std::span<const float> inputs,
                             const AwqOptions& options);

/// Columns of weights times a scale each, rounded once to F32. `to` may be the weights themselves.
void scale_columns(const WeightRows& rows, std::span<const double> scales, float* to);

}  // namespace mm2
