// What a scale may be, and scales out of their stored types.
//
// Every scale is finite and small enough that no code leaves F32. Scales of integers may be
// negative (AutoRound writes such), those of E4M3 and E2M1 codes are derived from a largest size
// and may not. A scale of 0 is legal where its type can underflow: E4M3 and F16 hold 0 for groups
// below their smallest number, whose weights then are 0. F32 and BF16 reach further down than
// weights do; there a scale of 0, or below the smallest normal number, is legal only over codes
// that all stand for 0. A global scale is above 0.
#pragma once

#include <cstdint>
#include <string>

#include "quant/scheme.h"

namespace mm2 {

struct ScaleRule {
  float least = 0;
  float most = 0;
  bool may_vanish = false;  // 0 is allowed whatever the codes are
};

ScaleRule scale_rule(const WeightDescription& description);
ScaleRule global_scale_rule(const WeightDescription& description);

/// Whether one of n scales is too small to be told from 0; -0 is.
bool some_vanish(const float* scales, int64_t n);

/// Whether all of n scales are within the rule's bounds.
bool keep_rule(const ScaleRule& rule, const float* scales, int64_t n);

/// "is NaN, must be finite": what is wrong with a value outside of them, or "".
std::string scale_fault(const ScaleRule& rule, float scale);

/// Scales as F32, which holds each one exactly. `from` needs no alignment.
void widen_scales(Dtype dtype, const std::byte* from, int64_t n, float* to);

/// The sentence about element `i` of a tensor of scales.
Status scale_error(const TensorSource& source, const TensorInfo& scales, int64_t i,
                   const std::string& fault);

/// Reads all scales of the matrix and refuses those that cannot be, naming tensor, place and value.
/// What depends on the codes (scales that vanish) is not seen here. No-op for plain weights.
Status check_scales(const WeightDescription& description, const TensorSource& source);

}  // namespace mm2
