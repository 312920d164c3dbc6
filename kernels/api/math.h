// exp, 2^x and sigmoid of additions and multiplications alone, so that every machine gives the same
// bits. Relative error at most 2e-7 (tests/kernels/math_test.cpp scans it).
#pragma once

#include "kernels/api/numbers.h"

namespace mm2::kernels {

/// e^x: 2^n e^r, n = round(x log2 e), |r| <= ln(2) / 2. 0 below -104, inf above 89, NaN of NaN.
MM2_HD static inline float exp_f32(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // 9 bits: n times it is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  // Adding it rounds to an integer, which stands in the low bits.
  constexpr float kRound = 0x1.8p23f;

  x = x > 89.0f ? 89.0f : x;
  x = x < -105.0f ? -105.0f : x;
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;

  // Minimax coefficients of (e^r - 1 - r) / r^2.
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float power = (p * (r * r) + r) + 1.0f;

  // 2^n in two steps: n runs from -152 to 128, a float's exponent only from -126 to 127.
  const uint32_t count = bits_of(shifted) - bits_of(kRound);
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(count) >> 1);
  return power * float_of((half + 127u) << 23) * float_of((count - half + 127u) << 23);
}

/// 1 / (1 + e^-x), from e^-|x| on both sides: nothing overflows.
MM2_HD static inline float sigmoid_f32(float x) {
  const float e = exp_f32(x < 0.0f ? x : -x);
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/// Of 2^r = (..(kExp2[0] * r + kExp2[1]) * r + ..) * r + kExp2[6], |r| <= 1/2.
constexpr float kExp2[] = {1.5594678e-4f, 1.3406644e-3f, 9.6176930e-3f, 5.5503106e-2f,
                           2.4022653e-1f, 6.9314721e-1f, 1.0f};
constexpr float kExp2Round = 0x1.8p23f;  // adding it rounds to an integer, which is in the low bits
/// No weight of attention is below 2^-64 of the greatest: nothing is subnormal.
constexpr float kLowestPower = -64.0f;

/// 2^max(t, kLowestPower), t < 128; NaN of NaN.
MM2_HD static inline float exp2_f32(float t) {
  constexpr float kFactors[] = {kExp2[0], kExp2[1], kExp2[2], kExp2[3],
                                kExp2[4], kExp2[5], kExp2[6]};
  t = t < kLowestPower ? kLowestPower : t;
  const float shifted = t + kExp2Round;
  const float r = t - (shifted - kExp2Round);
  float p = kFactors[0];
  for (int i = 1; i < 7; ++i) p = p * r + kFactors[i];
  return p * float_of((bits_of(shifted) - bits_of(kExp2Round) + 127u) << 23);
}

}  // namespace mm2::kernels
