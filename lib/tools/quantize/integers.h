// What the rules for integers share.
#pragma once

#include <cstdint>

#include "tools/quantize/quantize.h"

namespace mm2::coding {

/// How weights of one group become codes: nearest(at_most(at_least(w / scale + shift, low), high)) +
/// middle, where + shift is there for the tools that add the zero before they round.
struct GroupCodes {
  float scale = 1;
  float shift = 0;
  float low = 0, high = 0;
  float middle = 0;  // what is added after rounding; the zero of the group
};

/// kType: of the quotient and the sum.
template <Arithmetic kType>
void group_codes(const float* weights, int64_t n, const GroupCodes& g, uint8_t* codes);

/// AutoRound's search; the scale as it is before F16. `importance` may be null.
template <Arithmetic kType>
float searched_scale(const float* weights, const float* importance, int64_t n, int bits);

/// A scale that is no normal number of F32 becomes the smallest one, so that readers take it.
inline float normal_scale(float scale) {
  return scale > 0 && scale < 0x1p-126f ? 0x1p-126f : scale;
}

}  // namespace mm2::coding
