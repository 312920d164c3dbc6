// The inner loop of everything here that reads or writes JSON strings.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace mm2 {

/// Whether the byte stands for itself in a JSON string: no quote, backslash or control character.
inline bool is_plain_in_json(char c) {
  return c != '"' && c != '\\' && static_cast<unsigned char>(c) >= 0x20;
}

/// End of the run of such bytes that begins at `begin`.
inline size_t plain_end(std::string_view text, size_t begin) {
  constexpr uint64_t kOnes = 0x0101010101010101u, kHighs = 0x8080808080808080u;
  if constexpr (std::endian::native == std::endian::little) {
    for (; text.size() - begin >= 8; begin += 8) {
      uint64_t word;
      std::memcpy(&word, text.data() + begin, 8);
      const uint64_t quote = word ^ kOnes * '"', backslash = word ^ kOnes * '\\';
      // Sets the high bit of each byte that is 0, 0 and below 0x20, and perhaps of bytes above
      // one: the lowest is right.
      const uint64_t hits = ((quote - kOnes) & ~quote) | ((backslash - kOnes) & ~backslash) |
                            ((word - kOnes * 0x20) & ~word);
      if ((hits & kHighs) != 0)
        return begin + static_cast<size_t>(std::countr_zero(hits & kHighs)) / 8;
    }
  }
  while (begin < text.size() && is_plain_in_json(text[begin])) ++begin;
  return begin;
}

}  // namespace mm2
