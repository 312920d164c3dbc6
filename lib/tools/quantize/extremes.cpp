#include "tools/quantize/extremes.h"

#include <cmath>

#include "tools/quantize/lanes.h"

namespace mm2::coding {
Extremes extremes(const float* weights, int64_t n) {
  constexpr int kVectors = 4;
  Floats low[kVectors] = {}, high[kVectors] = {};
  Ints bad[kVectors] = {};
  int64_t i = 0;
  for (; i + 4 * kVectors <= n; i += 4 * kVectors) {
    for (int v = 0; v < kVectors; ++v) {
      const Floats x = load(weights + i + 4 * v);
      low[v] = x < low[v] ? x : low[v];
      high[v] = x > high[v] ? x : high[v];
      const Floats none = x - x;  // +0 of a number, NaN of anything else
      bad[v] |= as_ints(none);
    }
  }
  for (int v = 1; v < kVectors; ++v) {
    low[0] = low[v] < low[0] ? low[v] : low[0];
    high[0] = high[v] > high[0] ? high[v] : high[0];
    bad[0] |= bad[v];
  }
  Extremes e;
  uint32_t wrong = 0;
  for (int l = 0; l < 4; ++l) {
    e.low = at_most(e.low, low[0][l]);
    e.high = at_least(e.high, high[0][l]);
    wrong |= static_cast<uint32_t>(bad[0][l]);
  }
  for (; i < n; ++i) {
    e.low = at_most(e.low, weights[i]);
    e.high = at_least(e.high, weights[i]);
    wrong |= bits_of(weights[i] - weights[i]);
  }
  e.finite = wrong == 0;
  return e;
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
