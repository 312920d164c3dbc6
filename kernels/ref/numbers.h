// Scalar reading and writing of the number formats, for the reference.
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/api/types.h"

namespace mm2::kernels::ref {

inline float bits_to_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

/// Nearest BF16, ties to even; NaN stays NaN.
inline float round_to_bf16(float value) {
  uint32_t bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return value;
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return bits_to_float(bits & 0xffff0000u);
}

inline float f16_value(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  float magnitude;
  if (exponent == 31) {
    magnitude = bits_to_float(0x7f800000u | static_cast<uint32_t>(fraction) << 13);
  } else if (exponent == 0) {
    magnitude = static_cast<float>(fraction) * 0x1p-24f;
  } else {
    magnitude = bits_to_float(static_cast<uint32_t>(exponent + 112) << 23 |
                              static_cast<uint32_t>(fraction) << 13);
  }
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

/// Element i of an array stored as `number`: always exact.
template <typename Real>
inline Real load(const void* data, int32_t number, int64_t i) {
  const char* bytes = static_cast<const char*>(data);
  if (number == kF32) {
    float value;
    memcpy(&value, bytes + 4 * i, 4);
    return value;
  }
  if (number == kF64) {
    double value;
    memcpy(&value, bytes + 8 * i, 8);
    return static_cast<Real>(value);
  }
  uint16_t half;
  memcpy(&half, bytes + 2 * i, 2);
  return number == kBF16 ? bits_to_float(static_cast<uint32_t>(half) << 16) : f16_value(half);
}

/// Stores a value as `number` (kF32, kBF16 or kF64), rounded to nearest even.
template <typename Real>
inline void store(void* data, int32_t number, int64_t i, Real value) {
  char* bytes = static_cast<char*>(data);
  if (number == kF64) {
    const double wide = value;
    memcpy(bytes + 8 * i, &wide, 8);
    return;
  }
  const float narrow = static_cast<float>(value);
  if (number == kF32) {
    memcpy(bytes + 4 * i, &narrow, 4);
    return;
  }
  const uint16_t half = static_cast<uint16_t>(float_to_bits(round_to_bf16(narrow)) >> 16);
  memcpy(bytes + 2 * i, &half, 2);
}

inline int64_t number_bytes(int32_t number) {
  return number == kF64 ? 8 : number == kF32 ? 4 : 2;
}

/// An activation as it enters a product.
template <typename Real>
inline Real enter(Real value, int32_t activations) {
  return activations == kBF16 ? Real{round_to_bf16(static_cast<float>(value))} : value;
}

}  // namespace mm2::kernels::ref
