// The smallest and largest of some weights, and the refusal of weights that are no numbers.
#pragma once

#include <bit>
#include <cstdint>

#include "base/status.h"

namespace mm2 {

/// Rows of a matrix of weights, without gaps.
struct WeightRows {
  const float* weights = nullptr;  // [n_rows, n_cols]
  int64_t n_rows = 0, n_cols = 0;
  int64_t first_row = 0;  // of the matrix, for messages

  const float* row(int64_t r) const { return weights + r * n_cols; }
};

namespace coding {

struct Extremes {
  float low = 0, high = 0;  // 0 is always among them
  bool finite = true;       // else low and high mean nothing

  float size() const { return -low > high ? -low : high; }
};

/// Of n weights.
Extremes extremes(const float* weights, int64_t n);

constexpr int32_t kInfinityBits = 0x7f800000;

/// The largest size of n weights as bits: kInfinityBits and above where one is no finite number.
int32_t largest_size_bits(const float* weights, int64_t n);

/// The largest size of kN weights as bits: not finite where it is at least that of infinity.
template <int kN>
int32_t largest_bits(const float* weights) {
  int32_t largest = 0;
  for (int i = 0; i < kN; ++i) {
    const auto size = std::bit_cast<int32_t>(weights[i]) & INT32_MAX;
    largest = size > largest ? size : largest;
  }
  return largest;
}

/// Code::numeric: the first weight that is NaN or infinite, by row and column.
Status not_finite(const WeightRows& rows);

}  // namespace coding
}  // namespace mm2
