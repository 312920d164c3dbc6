#include "tensor/convert.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace {

using namespace mm2;

// The value of a small binary float from its fields, in double arithmetic.
double from_fields(uint32_t code, int exponent_bits, int fraction_bits, int bias) {
  const uint32_t fraction = code & ((1u << fraction_bits) - 1u);
  const int exponent = static_cast<int>((code >> fraction_bits) & ((1u << exponent_bits) - 1u));
  const double sign = (code >> (exponent_bits + fraction_bits)) & 1u ? -1.0 : 1.0;
  const double scale = std::ldexp(1.0, -fraction_bits);
  if (exponent == 0) return sign * std::ldexp(fraction * scale, 1 - bias);
  return sign * std::ldexp(1.0 + fraction * scale, exponent - bias);
}

// Rounding by search: the even neighbour wins a tie. `widen` must be monotonic on [0, last].
template <typename Widen>
uint16_t nearest(double magnitude, uint16_t last, double beyond_last, Widen widen) {
  uint16_t low = 0;
  for (uint16_t step = 0x8000; step != 0; step >>= 1) {
    const uint32_t next = uint32_t{low} + step;
    if (next <= last && widen(static_cast<uint16_t>(next)) <= magnitude)
      low = static_cast<uint16_t>(next);
  }
  const double below = widen(low);
  const double above = low == last ? beyond_last : widen(static_cast<uint16_t>(low + 1));
  const double middle = below + (above - below) / 2;
  if (magnitude > middle || (magnitude == middle && (low & 1u)))
    return static_cast<uint16_t>(low + 1);
  return low;
}

}  // namespace

TEST_CASE("f16: every code widens to the value of its fields") {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const float value = f16_to_f32(static_cast<uint16_t>(code));
    if ((code & 0x7c00u) == 0x7c00u) {
      CHECK(((code & 0x3ffu) != 0 ? std::isnan(value) : std::isinf(value)));
      continue;
    }
    REQUIRE(static_cast<double>(value) == from_fields(code, 5, 10, 15));
    REQUIRE(std::signbit(value) == ((code & 0x8000u) != 0));
  }
}

TEST_CASE("f16 and bf16: every code survives a trip through f32, NaN stays NaN") {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto code = static_cast<uint16_t>(i);
    const float half = f16_to_f32(code), brain = bf16_to_f32(code);
    if (std::isnan(half)) {
      REQUIRE(std::isnan(f16_to_f32(f32_to_f16(half))));
      REQUIRE((f32_to_f16(half) & 0x8000u) == (code & 0x8000u));
    } else {
      REQUIRE(f32_to_f16(half) == code);
    }
    if (std::isnan(brain)) {
      REQUIRE(std::isnan(bf16_to_f32(f32_to_bf16(brain))));
      REQUIRE((f32_to_bf16(brain) & 0x8000u) == (code & 0x8000u));
    } else {
      REQUIRE(f32_to_bf16(brain) == code);
    }
  }
}

TEST_CASE(
    "f16 and bf16: rounding from f32 is to nearest, ties to even, at random and at every tie") {
  std::mt19937 random(7);
  const auto check = [](float value) {
    const double magnitude = std::fabs(static_cast<double>(value));
    const uint16_t half = nearest(magnitude, 0x7bff, 65536.0,
                                  [](uint16_t c) { return static_cast<double>(f16_to_f32(c)); });
    const uint16_t brain = nearest(magnitude, 0x7f7f, std::ldexp(1.0, 128),
                                   [](uint16_t c) { return static_cast<double>(bf16_to_f32(c)); });
    REQUIRE((f32_to_f16(value) & 0x7fff) == half);
    REQUIRE((f32_to_bf16(value) & 0x7fff) == brain);
    REQUIRE(((f32_to_f16(value) & 0x8000) != 0) == std::signbit(value));
    REQUIRE(((f32_to_bf16(value) & 0x8000) != 0) == std::signbit(value));
  };
  for (int i = 0; i < 20000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isfinite(value)) check(value);
  }
  for (int i = 0; i < 20000; ++i) {  // dense where f16 lives: exponents from 2^-26 to 2^17
    const uint32_t bits = (101u + random() % 43u) << 23 | (random() & 0x7fffffu);
    check(std::bit_cast<float>(bits));
  }
  for (uint16_t code = 0; code < 0x7bff; ++code) {
    const float below = f16_to_f32(code);
    const float above = f16_to_f32(static_cast<uint16_t>(code + 1));
    const float tie = below + (above - below) / 2;
    check(tie);
    check(std::nextafter(tie, 0.0f));
    check(std::nextafter(tie, above));
  }
}

TEST_CASE("f16 and bf16: beyond the largest finite value comes infinity") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(f32_to_f16(65519.0f) == 0x7bff);
  CHECK(f32_to_f16(65520.0f) == 0x7c00);
  CHECK(f32_to_f16(-infinity) == 0xfc00);
  CHECK(f32_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(f32_to_bf16(infinity) == 0x7f80);
}

TEST_CASE("bf16: a NaN whose payload lies in the dropped half does not become infinity") {
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
  CHECK(std::isnan(f16_to_f32(f32_to_f16(std::bit_cast<float>(0x7f800001u)))));
}

TEST_CASE("e4m3: all 256 codes, with 448 the largest and NaN at 0x7F and 0xFF") {
  for (uint32_t code = 0; code < 256; ++code) {
    const float value = e4m3_to_f32(static_cast<uint8_t>(code));
    if ((code & 0x7fu) == 0x7fu) {
      CHECK(std::isnan(value));
      continue;
    }
    REQUIRE(static_cast<double>(value) == from_fields(code, 4, 3, 7));
    REQUIRE(std::signbit(value) == (code >= 128));
  }
  CHECK(e4m3_to_f32(0x7e) == 448.0f);
  CHECK(e4m3_to_f32(0x01) == 0x1p-9f);
}

TEST_CASE("e8m0: a code is the power of two with that biased exponent") {
  for (int code = 0; code < 255; ++code) {
    REQUIRE(static_cast<double>(e8m0_to_f32(static_cast<uint8_t>(code))) ==
            std::ldexp(1.0, code - 127));
  }
  CHECK(std::isnan(e8m0_to_f32(255)));
}
