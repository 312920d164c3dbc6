// Zeros of GPTQ v1, which are stored less one.
#pragma once

#include <cstdint>

namespace mm2::coding {

/// 1 in every field of a word: 0x11111111 for 4 bits.
constexpr uint32_t ones(int bits) {
  uint32_t word = 0;
  for (int at = 0; at + bits <= 32; at += bits) word |= 1u << at;
  return word;
}

/// Adds 1 to every field on its own, wrapping around in it.
constexpr uint32_t add_one_to_each(uint32_t word, int bits) {
  const uint32_t mask = (1u << bits) - 1u;
  uint32_t sum = 0;
  for (int at = 0; at + bits <= 32; at += bits) sum |= (((word >> at & mask) + 1u) & mask) << at;
  return sum;
}

/// Whether some field has its largest value: then tools do not agree on what is meant.
constexpr bool has_largest_field(uint32_t word, int bits) {
  const uint32_t mask = (1u << bits) - 1u;
  for (int at = 0; at + bits <= 32; at += bits) {
    if ((word >> at & mask) == mask) return true;
  }
  return false;
}

}  // namespace mm2::coding
