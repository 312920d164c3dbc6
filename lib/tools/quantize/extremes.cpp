#include "tools/quantize/extremes.h"

#include <cmath>

#include "base/vector_code.h"

namespace mm2::coding {
namespace {

// Bits of negative numbers but the sign turned over, numbers compare as integers do.
int32_t ordered(int32_t bits) {
  return bits ^ (bits >> 31 & INT32_MAX);
}

inline __attribute__((always_inline)) void extremes_loop(const float* weights, int64_t n,
                                                         int32_t& lowest, int32_t& highest,
                                                         int32_t& largest) {
  int32_t low = 0, high = 0, size = 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<int32_t>(weights[i]);
    const int32_t of_size = bits & INT32_MAX, place = bits ^ (bits >> 31 & INT32_MAX);
    low = place < low ? place : low;
    high = place > high ? place : high;
    size = of_size > size ? of_size : size;
  }
  lowest = low;
  highest = high;
  largest = size;
}

inline __attribute__((always_inline)) int32_t size_loop(const float* weights, int64_t n) {
  int32_t size = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t of_size = std::bit_cast<int32_t>(weights[i]) & INT32_MAX;
    size = of_size > size ? of_size : size;
  }
  return size;
}

}  // namespace

Extremes extremes(const float* weights, int64_t n) {
  constexpr int32_t kMinusZero = -1;  // no less than 0
  int32_t low, high, size;
  VectorCode<extremes_loop>::run(weights, n, low, high, size);
  Extremes e;
  e.low = std::bit_cast<float>(low == kMinusZero ? 0 : ordered(low));
  e.high = std::bit_cast<float>(high);
  e.finite = size < kInfinityBits;
  return e;
}

int32_t largest_size_bits(const float* weights, int64_t n) {
  return VectorCode<size_loop>::run(weights, n);
}

Status not_finite(const WeightRows& rows) {
  for (int64_t i = 0; i < rows.n_rows * rows.n_cols; ++i) {
    const float w = rows.weights[i];
    if (std::isfinite(w)) continue;
    return error(Code::numeric, "the weight at [", rows.first_row + i / rows.n_cols, ", ",
                 i % rows.n_cols, "] is ",
                 std::isnan(w) ? "NaN"
                 : w > 0       ? "infinity"
                               : "-infinity",
                 ", must be a finite number");
  }
  return {};
}

}  // namespace mm2::coding
