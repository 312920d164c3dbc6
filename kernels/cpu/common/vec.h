// Four floats at a time: what any CPU can do, written once for every compiler.
#pragma once

#include <stdint.h>
#include <string.h>

namespace mm2::kernels::common {

typedef float F32x4 __attribute__((vector_size(16)));
typedef int32_t I32x4 __attribute__((vector_size(16)));
typedef uint32_t U32x4 __attribute__((vector_size(16)));

static inline F32x4 load4(const float* at) {
  F32x4 v;
  memcpy(&v, at, 16);
  return v;
}

static inline U32x4 load4(const uint32_t* at) {
  U32x4 v;
  memcpy(&v, at, 16);
  return v;
}

static inline void store4(float* at, F32x4 v) {
  memcpy(at, &v, 16);
}

static inline F32x4 splat4(float x) {
  return F32x4{x, x, x, x};
}

static inline F32x4 as_f32(U32x4 bits) {
  F32x4 v;
  memcpy(&v, &bits, 16);
  return v;
}

/// Two numbers of 16 bits in each dword, as floats.
struct Pair4 {
  F32x4 low, high;
};

static inline Pair4 bf16_pairs(U32x4 codes) {
  return {as_f32(codes << 16), as_f32(codes & 0xFFFF0000u)};
}

/// Exact, subnormals, infinities and NaN included. `codes` have the half in their upper 16 bits: an
/// arithmetic shift puts exponent and mantissa in place and keeps the sign, then 2^112 corrects the
/// exponent, except that of infinities and NaN.
static inline F32x4 f16_upper_half(U32x4 codes) {
  const U32x4 placed = (U32x4)((I32x4)codes >> 3) & 0x8FFFE000u;
  const F32x4 value = as_f32(placed) * 0x1p112f;
  const U32x4 special = (U32x4)((placed & 0x0F800000u) == 0x0F800000u) & 0x7F800000u;
  U32x4 bits;
  memcpy(&bits, &value, 16);
  return as_f32(bits | special);
}

static inline Pair4 f16_pairs(U32x4 codes) {
  return {f16_upper_half(codes << 16), f16_upper_half(codes)};
}

}  // namespace mm2::kernels::common
