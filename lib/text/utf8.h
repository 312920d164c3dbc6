// UTF-8: checking, reading, writing, and the repair of what is broken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mm2::utf8 {

/// Number of bytes that begin a well-formed character at text[0]: its whole length if it is one,
/// else the length of the maximal ill-formed part (Unicode 3.9, "maximal subpart"), at least 1.
struct Step {
  uint32_t length = 0;
  bool well_formed = false;
  bool cut = false;  // ill-formed only because the text ends here
};
/// `text` is not empty.
Step step(std::string_view text);

/// Position of the first ill-formed part, text.size() if there is none.
size_t valid_prefix(std::string_view text);

/// Appends text with each maximal ill-formed part replaced by U+FFFD.
void append_repaired(std::string_view text, std::string* out);

/// Appends a code point below 0x110000.
void append(char32_t code_point, std::string* out);

/// The character at `*position` of well-formed UTF-8; moves behind it.
inline char32_t next(const char* text, size_t* position) {
  const auto* p = reinterpret_cast<const unsigned char*>(text) + *position;
  const unsigned lead = p[0];
  if (lead < 0x80) {
    *position += 1;
    return lead;
  }
  if (lead < 0xE0) {
    *position += 2;
    return (lead & 0x1F) << 6 | (p[1] & 0x3Fu);
  }
  if (lead < 0xF0) {
    *position += 3;
    return (lead & 0x0F) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
  }
  *position += 4;
  return (lead & 0x07) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

/// Start of the character that ends before `position` > 0 in well-formed UTF-8.
inline size_t previous(const char* text, size_t position) {
  do --position;
  while ((static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  return position;
}

}  // namespace mm2::utf8
