#include "text/nfc.h"
#include "text/splitter.h"
#include "text/unicode/tables.h"
#include "text/utf8.h"
#include "unit/text/text_support.h"

using namespace mm2;

namespace {

std::string text_of(std::initializer_list<char32_t> code_points) {
  std::string text;
  for (const char32_t c : code_points) utf8::append(c, &text);
  return text;
}

std::string composed(std::initializer_list<char32_t> code_points) {
  std::string buffer;
  return std::string(nfc(text_of(code_points), &buffer));
}

std::string repaired(std::string_view bytes) {
  std::string text;
  utf8::append_repaired(bytes, &text);
  return text;
}

std::vector<std::string> pieces(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = next_piece(text, begin);
    out.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

using Pieces = std::vector<std::string>;

}  // namespace

TEST_CASE("utf8: each maximal ill-formed part becomes one replacement character") {
  const std::string r = "\xEF\xBF\xBD";
  CHECK(repaired("plain") == "plain");
  CHECK(repaired("\xC0\x80") == r + r);                  // overlong
  CHECK(repaired("\xED\xA0\x80") == r + r + r);          // surrogate
  CHECK(repaired("\xF4\x90\x80\x80") == r + r + r + r);  // above 10FFFF
  CHECK(repaired("\xE4\xB8") == r);                      // cut at the end
  CHECK(repaired("\xE4\xB8"
                 "A") == r + "A");
  CHECK(repaired("\xF0\x9F\x98\xF0\x9F\x98\x80") == r + "\xF0\x9F\x98\x80");
  CHECK(repaired("a\x80"
                 "b") == "a" + r + "b");
}

TEST_CASE("utf8: every code point survives writing and reading") {
  size_t wrong = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string text = text_of({c});
    size_t position = 0;
    wrong += utf8::valid_prefix(text) != text.size() || utf8::next(text.data(), &position) != c ||
             position != text.size() || utf8::previous(text.data(), text.size()) != 0;
  }
  CHECK(wrong == 0);
}

TEST_CASE("nfc: text that is in NFC is returned without a copy") {
  std::string buffer;
  const std::string text = "plain, caf\xC3\xA9, \xE4\xB8\xAD\xE6\x96\x87, \xEA\xB0\x81";
  CHECK(nfc(text, &buffer).data() == text.data());
}

TEST_CASE("nfc: composes, orders and leaves blocked marks alone") {
  CHECK(composed({'e', 0x301}) == text_of({0xE9}));
  CHECK(composed({'x', 'e', 0x301, 'y'}) == text_of({'x', 0xE9, 'y'}));
  CHECK(composed({0x212B}) == text_of({0xC5}));                      // a singleton
  CHECK(composed({0x0958}) == text_of({0x0915, 0x093C}));            // excluded from composition
  CHECK(composed({'a', 0x301, 0x323}) == text_of({0x1EA1, 0x301}));  // the lower class first
  CHECK(composed({'a', 0x308, 0x301}) == text_of({0xE4, 0x301}));    // blocked by the same class
  CHECK(composed({0x344}) == text_of({0x308, 0x301}));               // a mark of two marks
  CHECK(composed({0x301, 'e'}) == text_of({0x301, 'e'}));
  CHECK(composed({0x1100, 0x1161, 0x11A8}) == text_of({0xAC01}));  // Hangul
  CHECK(composed({0xAC00, 0x11A8}) == text_of({0xAC01}));
  CHECK(composed({0xAC00, 0x11A7}) == text_of({0xAC00, 0x11A7}));
}

TEST_CASE("nfc: characters newer than Unicode 9.0 neither move nor compose") {
  CHECK(composed({'a', 0x8D3, 0x323}) == text_of({'a', 0x8D3, 0x323}));
  CHECK(composed({0x11935, 0x11930}) == text_of({0x11935, 0x11930}));
}

TEST_CASE("nfc: is idempotent, whatever stands beside each character") {
  size_t wrong = 0;
  std::string once, twice;
  for (char32_t c = 0; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string text = text_of({'a', c, 0x323, 0x301, c, 0x1161, c});
    const std::string first(nfc(text, &once));
    wrong += nfc(first, &twice) != first;
  }
  CHECK(wrong == 0);
}

TEST_CASE("splitter: words take one character in front and a contraction behind") {
  CHECK(pieces("Hello's 1234!!!\n\xE4\xB8\x96\xE7\x95\x8C") ==
        Pieces{"Hello's", " ", "123", "4", "!!!\n", "\xE4\xB8\x96\xE7\x95\x8C"});
  CHECK(pieces("it'S we'LL x'\xC5\xBF y'q") == Pieces{"it'S", " we'LL", " x'\xC5\xBF", " y", "'q"});
  CHECK(pieces("HTTPServer") == Pieces{"HTTPServer"});
  CHECK(pieces("camelCase") == Pieces{"camel", "Case"});
}

TEST_CASE("splitter: a head that ends in upper case gives back to its last tail character") {
  const std::string lm = text_of({0x2B0});  // Lm: head and tail
  CHECK(pieces("A" + lm + "BC") == Pieces{"A" + lm, "BC"});
  CHECK(pieces("A" + lm + "Bc") == Pieces{"A" + lm + "Bc"});
}

TEST_CASE("splitter: a run of white space leaves its last character to the word behind it") {
  CHECK(pieces("a   b") == Pieces{"a", "  ", " b"});
  CHECK(pieces("a \n \n  b") == Pieces{"a", " \n \n", " ", " b"});
  CHECK(pieces("a   ") == Pieces{"a", "   "});
  CHECK(pieces(" \t1") == Pieces{" ", "\t", "1"});
  CHECK(pieces(" !!//\n/x") == Pieces{" !!//\n/", "x"});
}

TEST_CASE("splitter: classes are those of Unicode 16.0") {
  CHECK((unicode::flags(0x1C89) & unicode::kHead) != 0);  // Lu since 16.0
  CHECK((unicode::flags(0x1C8A) & unicode::kTail) != 0);  // Ll since 16.0
  CHECK((unicode::flags(0x10D40) & unicode::kNumber) != 0);
  CHECK((unicode::flags(0x180E) & unicode::kSpace) == 0);
  CHECK((unicode::flags(0x85) & unicode::kSpace) != 0);
}
