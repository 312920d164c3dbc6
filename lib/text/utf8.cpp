#include "text/utf8.h"

#include <cstring>

namespace mm2::utf8 {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What may follow a lead byte (Unicode, table 3-7): the number of continuation bytes and the range
// of the first of them.
struct Lead {
  uint32_t n_continuations;
  unsigned char low;
  unsigned char high;
};

inline Lead lead_of(unsigned char byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte < 0xF0) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte < 0xF4) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Step step(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {1, true, false};
  const Lead lead = lead_of(first);
  if (lead.n_continuations == 0) return {1, false, false};
  for (uint32_t i = 1; i <= lead.n_continuations; ++i) {
    if (i == text.size()) return {i, false, true};
    const auto byte = static_cast<unsigned char>(text[i]);
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {i, false, false};
  }
  return {lead.n_continuations + 1, true, false};
}

size_t valid_prefix(std::string_view text) {
  size_t i = 0;
  const auto word_at = [&](size_t at) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    return word;
  };
  while (i < text.size()) {
    while (text.size() - i >= 32 &&
           ((word_at(i) | word_at(i + 8) | word_at(i + 16) | word_at(i + 24)) &
            0x8080808080808080u) == 0)
      i += 32;
    while (text.size() - i >= 8 && (word_at(i) & 0x8080808080808080u) == 0) i += 8;
    // One at a time until a word of plain characters has come by; those of two bytes without a call.
    for (int n_plain = 0; n_plain < 8 && i < text.size();) {
      const auto lead = static_cast<unsigned char>(text[i]);
      if (lead < 0x80) {
        ++i;
        ++n_plain;
        continue;
      }
      n_plain = 0;
      if (lead >= 0xC2 && lead < 0xE0 && i + 1 < text.size() &&
          (static_cast<unsigned char>(text[i + 1]) & 0xC0) == 0x80) {
        i += 2;
        continue;
      }
      const Step s = step(text.substr(i));
      if (!s.well_formed) return i;
      i += s.length;
    }
  }
  return i;
}

void append_repaired(std::string_view text, std::string* out) {
  while (!text.empty()) {
    const size_t good = valid_prefix(text);
    out->append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) return;
    out->append(kReplacement);
    text.remove_prefix(step(text).length);
  }
}

void append(char32_t code_point, std::string* out) {
  const auto put = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

}  // namespace mm2::utf8
