// Numbers of 16, 8 and 4 bits to and from F32, in bits. Internal linkage: each instruction set gets its own copy.
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/api/host_device.h"

namespace mm2::kernels {

/// Bytes of one number as it is stored, or 0 where there is no such Number.
MM2_HD static inline int64_t bytes_of(int32_t number) {
  constexpr int64_t kBytes[] = {4, 2, 2, 8, 1, 4, 1, 1};  // in the order of Number
  return number >= 0 && number < 8 ? kBytes[number] : 0;
}

MM2_HD static inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

MM2_HD static inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

MM2_HD static inline float bf16_to_f32(uint16_t code) {
  return float_of(uint32_t{code} << 16);
}

/// To nearest, ties to even; NaN stays NaN.
MM2_HD static inline uint16_t f32_to_bf16(float x) {
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/// Exact. With the exponent field in place, a half is 2^-112 of the float that has its bits.
MM2_HD static inline float f16_to_f32(uint16_t code) {
  const uint32_t sign = uint32_t{code & 0x8000u} << 16;
  const uint32_t rest = uint32_t{code & 0x7FFFu} << 13;
  if ((code & 0x7C00u) == 0x7C00u) return float_of(sign | rest | 0x7F800000u);
  return float_of(sign | bits_of(float_of(rest) * 0x1p112f));
}

/// To nearest, ties to even; what is too large becomes infinity, NaN stays NaN.
MM2_HD static inline uint16_t f32_to_f16(float x) {
  const uint32_t bits = bits_of(x);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t size = bits & 0x7FFFFFFFu;
  if (size > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (size >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);
  // Below 2^-14 the code counts steps of 2^-24: the last bit of floats at 0.5.
  if (size < 0x38800000u) {
    return static_cast<uint16_t>(sign | (bits_of(float_of(size) + 0.5f) - bits_of(0.5f)));
  }
  const uint32_t rounded = size + 0xFFFu + (size >> 13 & 1u);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

/// E4M3FN: exponent bias 7, no infinities; 0x7F and 0xFF are NaN.
MM2_HD static inline float e4m3_to_f32(uint8_t code) {
  const uint32_t sign = uint32_t{code & 0x80u} << 24;
  if ((code & 0x7Fu) == 0x7Fu) return float_of(sign | 0x7FC00000u);
  return float_of(sign | bits_of(float_of(uint32_t{code & 0x7Fu} << 20) * 0x1p120f));
}

/// To nearest, ties to even, saturating at +-448; NaN stays NaN.
MM2_HD static inline uint8_t f32_to_e4m3(float x) {
  const uint32_t bits = bits_of(x);
  const uint8_t sign = static_cast<uint8_t>(bits >> 24 & 0x80u);
  const float size = float_of(bits & 0x7FFFFFFFu);
  if (!(size <= 448.0f)) return static_cast<uint8_t>(sign | (size > 448.0f ? 0x7Eu : 0x7Fu));
  // Adding 2^e puts the last bit of the code at the last bit of the sum, which rounds it there.
  if (size < 0x1p-6f) {
    return static_cast<uint8_t>(sign | (bits_of(size + 0x1p14f) - bits_of(0x1p14f)));
  }
  const uint32_t rounded = (bits & 0x7FFFFFFFu) + 0x7FFFFu + (bits >> 20 & 1u);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

/// 2^(code - 127); 255 is NaN.
MM2_HD static inline float e8m0_to_f32(uint8_t code) {
  if (code == 0) return 0x1p-127f;
  return float_of(code == 255 ? 0x7FC00000u : uint32_t{code} << 23);
}

/// E2M1: 0 0.5 1 1.5 2 3 4 6, bit 3 is the sign.
MM2_HD static inline float e2m1_to_f32(uint8_t code) {
  constexpr float kSizes[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return (code & 8u) != 0 ? -kSizes[code & 7u] : kSizes[code & 7u];
}

}  // namespace mm2::kernels
