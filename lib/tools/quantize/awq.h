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
