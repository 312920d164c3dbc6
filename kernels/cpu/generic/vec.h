// Four floats at a time: what any CPU can do, written once for every compiler.
#pragma once

#include <stdint.h>
#include <string.h>

namespace mm2::kernels::generic {

typedef float F32x4 __attribute__((vector_size(16)));
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

/// Exact, subnormals, infinities and NaN included (see f16_to_f32).
static inline F32x4 f16_low_half(U32x4 codes) {
  const U32x4 sign = (codes & 0x8000u) << 16;
  const U32x4 rest = (codes & 0x7FFFu) << 13;
  const U32x4 special = (U32x4)(rest >= 0x0F800000u) & 0x7F800000u;
  U32x4 scaled;
  const F32x4 value = as_f32(rest) * 0x1p112f;
  memcpy(&scaled, &value, 16);
  return as_f32(sign | scaled | special);
}

static inline Pair4 f16_pairs(U32x4 codes) {
  return {f16_low_half(codes), f16_low_half(codes >> 16)};
}

}  // namespace mm2::kernels::generic
