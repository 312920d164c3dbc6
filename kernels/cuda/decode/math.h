// Powers and the sigmoid of the fast kernels, of additions, multiplications and fused ones alone.
#pragma once

#include <cuda_runtime.h>

#include "kernels/api/numbers.h"

namespace mm2::kernels::cuda {

/// 2^t for t from -125 to below 128, else anything: see exp2_fast.
MM2_HD static inline float exp2_in_range(float t) {
  constexpr float kRound = 0x1.8p23f;  // adding it rounds to an integer, which is in the low bits
  const float shifted = t + kRound;
  const float r = t - (shifted - kRound);  // exact, at most 1/2
  float p = 1.5594678e-4f;
  p = fmaf(p, r, 1.3406644e-3f);
  p = fmaf(p, r, 9.6176930e-3f);
  p = fmaf(p, r, 5.5503106e-2f);
  p = fmaf(p, r, 2.4022653e-1f);
  p = fmaf(p, r, 6.9314721e-1f);
  p = fmaf(p, r, 1.0f);
  // n is -125 to 128: 2^(n - 1), then doubled, is a float for each.
  return p * float_of((bits_of(shifted) - bits_of(kRound) + 126u) << 23) * 2.0f;
}

/// 2^t: the polynomial's error and the roundings of Horner's rule come to less than 2^-22 of it. 0 below
/// -125, infinite from 128 on, NaN of NaN.
MM2_HD static inline float exp2_fast(float t) {
  if (t < -125.0f) return 0.0f;
  if (t >= 128.0f) return float_of(0x7F800000u);
  if (!(t == t)) return t;
  return exp2_in_range(t);
}

/// Cosine and sine of pi times half_turns: exact to a float's last bit, as far as half_turns is.
__device__ inline void cos_and_sin(double half_turns, float* c, float* s) {
  double of_c, of_s;
#if defined(MM2_CUDA_EMULATED)
  const double r = half_turns - 2 * rint(half_turns / 2);  // exact
  of_c = cos(r * 3.14159265358979323846);
  of_s = sin(r * 3.14159265358979323846);
#else
  sincospi(half_turns, &of_s, &of_c);
#endif
  *c = static_cast<float>(of_c);
  *s = static_cast<float>(of_s);
}

/// 1 / (1 + e^-x), from e^-|x| on both sides. log2(e) x is rounded before it is a power: near |x| = 20 that
/// moves the small side by 20 * 2^-24 * ln 2 of it, at |x| = 87 by four times that.
MM2_HD static inline float sigmoid_fast(float x) {
  constexpr float kLog2E = 1.44269504f;
  const float e = exp2_fast((x < 0.0f ? x : -x) * kLog2E);
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

MM2_HD static inline float silu_fast(float x) {
  return x * sigmoid_fast(x);
}

}  // namespace mm2::kernels::cuda
