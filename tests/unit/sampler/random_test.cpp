#include "sampler/random.h"

#include <catch2/catch.hpp>

using mm2::philox4x32;
using Words = std::array<uint32_t, 4>;

// The three known answers that the authors of Philox publish for philox4x32-10.
TEST_CASE("random: philox gives its published answers") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: draws follow the rule in the header and lie from 0 to below 1") {
  const uint64_t bits = (uint64_t{0x6627e8d5} << 32 | 0xe169c58d) >> 11;
  CHECK(mm2::uniform(0, 0) == static_cast<double>(bits) / 9007199254740992.0);
  for (uint64_t i = 0; i < 1000; ++i) {
    const double u = mm2::uniform(~uint64_t{0}, i << 32 | i);
    CHECK(u >= 0);
    CHECK(u < 1);
  }
}
