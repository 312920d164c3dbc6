// Powers, sine and cosine in FP64 of additions and multiplications alone: the angles of the
// rotation have the same bits on every machine, which those of the C library do not promise.
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/api/host_device.h"

namespace mm2::kernels {

/// ln(x), x > 0: twice the area tangent of (m - 1) / (m + 1), x = m 2^e, m in [0.7, 1.5).
static inline double log_f64(double x) {
  constexpr double kLn2 = 0.6931471805599453;
  int e = 0;
  double m = __builtin_frexp(x, &e);  // exact
  if (m < 0.75) {
    m *= 2;
    e -= 1;
  }
  const double s = (m - 1) / (m + 1);
  double sum = 0;
  for (int n = 25; n >= 1; n -= 2) sum = sum * (s * s) + 1.0 / n;  // s^27 / 27 < 1e-19
  return 2 * s * sum + e * kLn2;
}

/// e^y for |y| below 700.
MM2_HD static inline double exp_f64(double y) {
  constexpr double kLn2High = 0.6931471803691238, kLn2Low = 1.9082149292705877e-10;
  constexpr double kRound = 0x1.8p52;
  const double n = (y * 1.4426950408889634 + kRound) - kRound;
  const double r = (y - n * kLn2High) - n * kLn2Low;
  double sum = 1;
  for (int i = 14; i >= 1; --i) sum = sum * r / i + 1;  // 0.35^15 / 15! < 1e-18
  const uint64_t power = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52;
  double two_to_n;
  memcpy(&two_to_n, &power, 8);
  return sum * two_to_n;  // exact
}

struct SinCos {
  double sin, cos;
};

/// For 0 <= x < 2^20 pi: x - n pi/2 with pi/2 in three parts, then Taylor series, |r| <= pi/4.
MM2_HD static inline SinCos sin_cos_f64(double x) {
  constexpr double kHigh = 1.5707963267341256, kMiddle = 6.077100506303966e-11,
                   kLow = 2.0222662487959506e-21;  // 33, 33 and 53 bits
  constexpr double kRound = 0x1.8p52;
  const double n = (x * 0.6366197723675814 + kRound) - kRound;
  const double r = ((x - n * kHigh) - n * kMiddle) - n * kLow;
  const double square = r * r;
  double sin = 1, cos = 1;
  for (int i = 16; i >= 2; i -= 2) {  // 0.79^17 / 17! < 1e-16
    sin = 1 - sin * square / (i * (i + 1));
    cos = 1 - cos * square / (i * (i - 1));
  }
  sin *= r;
  const int64_t quarter = static_cast<int64_t>(n) & 3;
  if (quarter == 1) return {cos, -sin};
  if (quarter == 2) return {-sin, -cos};
  if (quarter == 3) return {-cos, sin};
  return {sin, cos};
}

}  // namespace mm2::kernels
