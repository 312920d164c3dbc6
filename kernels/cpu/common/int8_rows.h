// Activations as integers of 8 bits, as kernels/api/ops.h says of kI8.
#pragma once

#include "kernels/api/format.h"
#include "kernels/api/numbers.h"

namespace mm2::kernels::common {

struct Int8Scale {
  float scale, inverse;  // inverse 0: codes are 0
};

/// `size`: bits of the greatest magnitude; infinity and NaN are above all others.
static inline Int8Scale int8_scale(uint32_t size) {
  if (size >= 0x7F800000u) return {float_of(0x7FC00000u), 0.0f};
  if (float_of(size) < kLeastInt8) return {0.0f, 0.0f};
  return {float_of(size) / 127.0f, 127.0f / float_of(size)};
}

/// The codes of n <= 128 activations x[order[i]] (or x[i]), zeros behind them; returns their scale.
static inline float quantize_group(const float* x, const int32_t* order, int64_t n,
                                   int32_t* codes) {
  alignas(64) float numbers[kSumGroup] = {};
  if (order == nullptr) {
    memcpy(numbers, x, static_cast<size_t>(n) * sizeof(float));
  } else {
    for (int64_t i = 0; i < n; ++i) numbers[i] = x[order[i]];
  }
  int32_t most = 0;
  for (int64_t i = 0; i < kSumGroup; ++i) {
    const auto size = static_cast<int32_t>(bits_of(numbers[i]) & 0x7FFFFFFFu);
    most = size > most ? size : most;
  }
  const Int8Scale of = int8_scale(static_cast<uint32_t>(most));
  if (of.inverse == 0) {
    for (int64_t i = 0; i < kSumGroup; ++i) codes[i] = 0;
    return of.scale;
  }
  // The last bit of floats at 1.5 * 2^23 is 1: adding that rounds to nearest even.
  constexpr float kUnit = 0x1.8p23f;
  constexpr int32_t kUnitBits = 0x4B400000;
  for (int64_t i = 0; i < kSumGroup; ++i) {
    codes[i] = static_cast<int32_t>(bits_of(numbers[i] * of.inverse + kUnit)) - kUnitBits;
  }
  return of.scale;
}

}  // namespace mm2::kernels::common
