// Kinds and cases of characters as str of Python 3.11 knows them (Unicode 14.0). case_tables.cpp is
// written by generate_case.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mm2::chat::jinja {

/// Bits of CaseRecord::kinds.
enum CharKind : uint16_t {
  kAlpha = 1,
  kDecimal = 2,
  kDigit = 4,
  kNumeric = 8,
  kCased = 16,
  kIgnorable = 32,  // looked past when what stands beside a capital sigma matters
  kLower = 64,
  kUpper = 128,
  kTitle = 256,
  kIdentifierStart = 512,
  kIdentifierPart = 1024,
  kAlnum = kAlpha | kDecimal | kDigit | kNumeric
};

/// What is true of many characters: a mapping is a distance, or, with kExtended, where several code
/// points stand in kCaseLonger: kExtended | length << 16 | begin.
struct CaseRecord {
  uint16_t kinds;
  int32_t upper, lower, title, fold;
};
constexpr int32_t kExtended = 1 << 28;

extern const uint16_t kCaseStage1[];  // [0x110000 / 128]
extern const uint16_t kCaseBlocks[];
extern const CaseRecord kCaseRecords[];
extern const char32_t kCaseLonger[];

inline const CaseRecord& case_of(char32_t c) {
  return kCaseRecords[c < 0x110000 ? kCaseBlocks[kCaseStage1[c / 128] * 128 + c % 128] : 0];
}
/// Whether a character is of one of these kinds.
inline bool is_any(char32_t c, uint16_t kinds) {
  return (case_of(c).kinds & kinds) != 0;
}
/// Whether there are characters, and all of them are.
bool are_all(std::string_view text, uint16_t kinds);

/// The methods of str. A result has at most three times the bytes.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);
std::string swapcase(std::string_view text);
std::string casefold(std::string_view text);
bool is_lower(std::string_view text);
bool is_upper(std::string_view text);
bool is_title(std::string_view text);
bool is_identifier(std::string_view text);

}  // namespace mm2::chat::jinja
