// Every character in six surroundings, as str of Python 3.11 changes and classes it.
#include <array>
#include <catch2/catch.hpp>
#include <string>

#include "chat/jinja/case.h"
#include "chat/jinja/strings.h"

using namespace mm2::chat::jinja;

namespace {

// The CRC of gzip and PNG.
class Crc32 {
 public:
  Crc32() {
    for (uint32_t i = 0; i < 256; ++i) {
      table_[i] = i;
      for (int bit = 0; bit < 8; ++bit)
        table_[i] = table_[i] >> 1 ^ (table_[i] & 1 ? 0xEDB88320u : 0);
    }
  }
  void add(std::string_view text) {
    for (const char c : text)
      crc_ = crc_ >> 8 ^ table_[(crc_ ^ static_cast<unsigned char>(c)) & 0xFF];
  }
  uint32_t value() const { return ~crc_; }

 private:
  std::array<uint32_t, 256> table_;
  uint32_t crc_ = ~0u;
};

// Results of zlib.crc32 in Python 3.11.7 over the same texts, in the same order: upper, lower, title,
// capitalize, swapcase, casefold; then 1 or 0 for isalpha, isalnum, isdigit, isdecimal, isnumeric,
// islower, isupper, istitle, isidentifier, and a line feed.
struct Surrounding {
  const char* before;
  const char* between;  // nullptr: the character stands there once
  const char* behind;
  uint32_t expected;
};
constexpr Surrounding kSurroundings[] = {
    {"", nullptr, "", 0x00FE45B3},
    {"a", nullptr, "b", 0xE3C92062},
    {"a\xCE\xA3", nullptr, "", 0x6D5FAFC3},
    {"", nullptr, "\xCE\xA3", 0x3C4ABDAF},
    {"a", nullptr,
     "\xCE\xA3"
     "b",
     0xD733B9F7},
    {"A", " ", "", 0xA66264E5},
};

void add_all(Crc32& crc, std::string_view text) {
  for (const auto change : {upper, lower, title, capitalize, swapcase, casefold})
    crc.add(change(text));
  const bool kinds[] = {are_all(text, kAlpha),   are_all(text, kAlnum),   are_all(text, kDigit),
                        are_all(text, kDecimal), are_all(text, kNumeric), is_lower(text),
                        is_upper(text),          is_title(text),          is_identifier(text)};
  for (const bool kind : kinds) crc.add(kind ? "1" : "0");
  crc.add("\n");
}

}  // namespace

TEST_CASE("jinja: letters of every script change case as in Python") {
  for (const Surrounding& around : kSurroundings) {
    Crc32 crc;
    size_t n_grown = 0;
    std::string text;
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      text = around.before;
      append_code_point(text, c);
      if (around.between != nullptr) append_code_point(text += around.between, c);
      text += around.behind;
      add_all(crc, text);
      n_grown += upper(text).size() > 3 * text.size();
    }
    INFO(around.before << "_" << around.behind);
    CHECK(crc.value() == around.expected);
    CHECK(n_grown == 0);
  }
}

TEST_CASE("jinja: a capital sigma is final behind a letter and before none, past marks") {
  CHECK(lower("\xCE\x9F\xCE\xA3") == "\xCE\xBF\xCF\x82");
  CHECK(lower("\xCE\x9F\xCE\xA3'") == "\xCE\xBF\xCF\x82'");
  CHECK(lower("\xCE\x9F'\xCE\xA3 x") == "\xCE\xBF'\xCF\x82 x");
  CHECK(lower("\xCE\xA3") == "\xCF\x83");
  std::string marks = "a";
  for (int i = 0; i < 100000; ++i) marks += "'\xCE\xA3";
  CHECK(lower(marks).size() == marks.size());
}
