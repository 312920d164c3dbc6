// Numbers into codes of few bits. Everything here rounds to nearest; ties go to the even code unless
// a name says otherwise. No function branches on a value, so loops over them become vector code.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/api/numbers.h"

namespace mm2::coding {

inline uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline float float_of(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

/// In which type a tool calculates: BF16 weights that stay BF16 round every step.
enum class Arithmetic : uint8_t { f32, bf16 };

/// What a step gives in that type; finite values only.
template <Arithmetic kType>
inline float narrow(float x) {
  if constexpr (kType == Arithmetic::f32) return x;
  const uint32_t bits = bits_of(x);
  return float_of((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

/// `a` where the condition holds, `b` elsewhere: bits, so that nobody makes branches of it.
inline uint32_t choose(bool condition, uint32_t a, uint32_t b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(condition);
  return (a & mask) | (b & ~mask);
}

/// The size of a number, at most `most`, as bits. Sizes compare as their bits do.
inline uint32_t held_size(float x, float most) {
  const auto size = static_cast<int32_t>(bits_of(x) & 0x7fffffffu);
  const auto limit = static_cast<int32_t>(bits_of(most));
  return static_cast<uint32_t>(size < limit ? size : limit);
}

/// E4M3FN of a finite number or an infinity, saturating at +-448; the sign of zero stays.
/// kernels/api/numbers.h has the same with branches, and for NaN.
inline uint32_t e4m3_bits(float x) {
  const uint32_t sign = bits_of(x) >> 24 & 0x80u;
  const uint32_t bits = held_size(x, 448.0f);
  const uint32_t normal = ((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - (120u << 3);
  // 2^14 has its last bit where the codes below 2^-6 have theirs, so the sum rounds there.
  const uint32_t small = bits_of(float_of(bits) + 0x1p14f) - bits_of(0x1p14f);
  const bool below = static_cast<int32_t>(bits) < static_cast<int32_t>(bits_of(0x1p-6f));
  return choose(below, small, normal) | sign;
}
inline uint8_t e4m3_code(float x) {
  return static_cast<uint8_t>(e4m3_bits(x));
}

/// The size of E2M1 (0 to 7) of a finite number or an infinity, saturating at 6.
inline uint32_t e2m1_size(float x) {
  const uint32_t bits = held_size(x, 6.0f);
  const uint32_t normal = ((bits + 0x1fffffu + (bits >> 22 & 1u)) >> 22) - (126u << 1);
  const uint32_t small = bits_of(float_of(bits) + 0x1p22f) - bits_of(0x1p22f);
  const bool below = static_cast<int32_t>(bits) < static_cast<int32_t>(bits_of(1.0f));
  return choose(below, small, normal);
}

/// The same with ties towards zero, as ModelOpt has it for MXFP4.
inline uint32_t e2m1_size_ties_down(float x) {
  const float size = float_of(bits_of(x) & 0x7fffffffu);
  return (size > 0.25f ? 1u : 0u) + (size > 0.75f ? 1u : 0u) + (size > 1.25f ? 1u : 0u) +
         (size > 1.75f ? 1u : 0u) + (size > 2.5f ? 1u : 0u) + (size > 3.5f ? 1u : 0u) +
         (size > 5.0f ? 1u : 0u);
}

/// E2M1 with the sign bit of the number: -0 and what rounds to it become code 8.
inline uint8_t e2m1_code(float x) {
  return static_cast<uint8_t>(e2m1_size(x) | (bits_of(x) >> 31) << 3);
}
/// E2M1 with the sign bit set below zero only: -0 becomes code 0.
inline uint8_t e2m1_code_plus_zero(float x) {
  return static_cast<uint8_t>(e2m1_size(x) | (x < 0.0f ? 8u : 0u));
}

/// The integer nearest to x (|x| < 2^21) in the low bits of the result, in two's complement.
inline uint32_t nearest_bits(float x) {
  return bits_of(x + 0x1.8p23f);
}
/// The same as a float.
inline float nearest(float x) {
  return (x + 0x1.8p23f) - 0x1.8p23f;
}

inline float at_least(float x, float least) {
  return x < least ? least : x;
}
inline float at_most(float x, float most) {
  return x > most ? most : x;
}

/// 2^e for e in [-127, 127].
inline float power_of_two(int e) {
  return e == -127 ? 0x1p-127f : float_of(static_cast<uint32_t>(e + 127) << 23);
}

}  // namespace mm2::coding
