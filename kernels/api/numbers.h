// BF16 and F16 to and from F32, in bits. Internal linkage: each instruction set gets its own copy.
#pragma once

#include <stdint.h>
#include <string.h>

namespace mm2::kernels {

/// Bytes of one number as it is stored, or 0 where there is no such Number.
static inline int64_t bytes_of(int32_t number) {
  constexpr int64_t kBytes[] = {4, 2, 2, 8, 1, 4};  // in the order of Number
  return number >= 0 && number < 6 ? kBytes[number] : 0;
}

static inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

static inline float bf16_to_f32(uint16_t code) {
  return float_of(uint32_t{code} << 16);
}

/// To nearest, ties to even; NaN stays NaN.
static inline uint16_t f32_to_bf16(float x) {
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/// Exact. With the exponent field in place, a half is 2^-112 of the float that has its bits.
static inline float f16_to_f32(uint16_t code) {
  const uint32_t sign = uint32_t{code & 0x8000u} << 16;
  const uint32_t rest = uint32_t{code & 0x7FFFu} << 13;
  if ((code & 0x7C00u) == 0x7C00u) return float_of(sign | rest | 0x7F800000u);
  return float_of(sign | bits_of(float_of(rest) * 0x1p112f));
}

}  // namespace mm2::kernels
