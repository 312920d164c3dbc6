// The second half of the methods that work on differences from a base.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/merge/method.h"

namespace mm2 {

struct Consensus {
  MergeArithmetic arithmetic = MergeArithmetic::f32;
  bool elects = false;          // only differences with the sign of their sum are added
  bool elects_weighted = true;  // of their sum by weight, else of their plain sum
  bool normalize = false;
  float lambda = 1;
  float min_divisor = 0;  // a divisor up to this becomes 1
  std::vector<float> weights;

  /// differences: n x [n_cols], overwritten; out = base + what they agree on, may be `base`.
  void add(const float* base, float* const* differences, int64_t n_cols, float* out) const;
};

}  // namespace mm2
