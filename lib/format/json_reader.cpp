#include "format/json_reader.h"

#include <charconv>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"

namespace mm2 {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string* to, uint32_t point) {
  if (to == nullptr) return;
  if (point < 0x80) {
    to->push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    to->push_back(static_cast<char>(0xc0 | (point >> 6)));
    to->push_back(static_cast<char>(0x80 | (point & 0x3f)));
  } else if (point < 0x10000) {
    to->push_back(static_cast<char>(0xe0 | (point >> 12)));
    to->push_back(static_cast<char>(0x80 | ((point >> 6) & 0x3f)));
    to->push_back(static_cast<char>(0x80 | (point & 0x3f)));
  } else {
    to->push_back(static_cast<char>(0xf0 | (point >> 18)));
    to->push_back(static_cast<char>(0x80 | ((point >> 12) & 0x3f)));
    to->push_back(static_cast<char>(0x80 | ((point >> 6) & 0x3f)));
    to->push_back(static_cast<char>(0x80 | (point & 0x3f)));
  }
}

}  // namespace

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 200;
  return join("\"", absl::CHexEscape(as_piece(text.substr(0, kShown))),
              text.size() > kShown ? "..." : "", "\"");
}

bool JsonReader::fail(std::string reason) {
  if (!status_.ok()) return false;
  std::string subject;
  if (!subject_kind_.empty()) subject = join(subject_kind_, " ", quoted(subject_), ": ");
  status_ = error(Code::format, what_, ": ", subject, reason, " (at byte ", at_, " of the JSON)");
  return false;
}

bool JsonReader::unexpected(std::string_view wanted, std::string_view context) {
  if (!status_.ok()) return false;
  // Where a whole array or object stands instead, what is wrong inside it (its depth, say) comes
  // first.
  if (at_ < text_.size() && (text_[at_] == '{' || text_[at_] == '[')) {
    const size_t here = at_;
    if (!skip_value()) return false;
    at_ = here;
  }
  const std::string in = context.empty() ? "" : join(context, ": ");
  if (at_ >= text_.size()) return fail(join(in, "the JSON ends where ", wanted, " should be"));
  return fail(join(in, "expected ", wanted, ", found ", quoted(text_.substr(at_, 1))));
}

void JsonReader::skip_space() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
    ++at_;
  }
}

bool JsonReader::open(char bracket, std::string_view context) {
  if (!ok()) return false;
  skip_space();
  if (at_ >= text_.size() || text_[at_] != bracket) {
    return unexpected(bracket == '{' ? "an object, '{'" : "an array, '['", context);
  }
  if (depth_ == kMaxDepth) return fail(join("nesting depth above ", kMaxDepth));
  ++at_;
  fresh_ |= uint64_t{1} << depth_;
  ++depth_;
  return true;
}

bool JsonReader::begin_object(std::string_view context) {
  return open('{', context);
}
bool JsonReader::begin_array(std::string_view context) {
  return open('[', context);
}

// At the end of a member: either the closing bracket (more = false) or a comma and the next one.
bool JsonReader::separator(char closing, bool& more) {
  skip_space();
  const uint64_t bit = uint64_t{1} << (depth_ - 1);
  const bool first = (fresh_ & bit) != 0;
  fresh_ &= ~bit;
  more = false;
  if (at_ < text_.size() && text_[at_] == closing) {
    ++at_;
    --depth_;
    return true;
  }
  if (!first) {
    if (at_ >= text_.size() || text_[at_] != ',') {
      return unexpected(closing == '}' ? "',' or '}'" : "',' or ']'", "");
    }
    ++at_;
    skip_space();
  }
  more = true;
  return true;
}

bool JsonReader::next_key(std::string& key) {
  bool more = false;
  if (!ok() || !separator('}', more) || !more) return false;
  if (!read_string(key, "a key")) return false;
  skip_space();
  if (at_ >= text_.size() || text_[at_] != ':') return unexpected("':'", "after a key");
  ++at_;
  return true;
}

bool JsonReader::next_element() {
  bool more = false;
  return ok() && separator(']', more) && more;
}

bool JsonReader::read_string(std::string& value, std::string_view context) {
  if (!ok()) return false;
  skip_space();
  if (at_ >= text_.size() || text_[at_] != '"') return unexpected("a string", context);
  value.clear();
  return string_body(&value);
}

bool JsonReader::string_body(std::string* value) {
  ++at_;
  while (at_ < text_.size()) {
    const size_t start = at_;
    while (at_ < text_.size()) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"' || c == '\\' || c < 0x20 || c >= 0x80) break;
      ++at_;
    }
    if (value != nullptr) value->append(text_, start, at_ - start);
    if (at_ >= text_.size()) break;
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      ++at_;
      return true;
    }
    if (c < 0x20) return fail("a control character inside a string");
    if (!(c == '\\' ? escape(value) : utf8_sequence(value))) return false;
  }
  return fail("the JSON ends inside a string");
}

bool JsonReader::hex4(uint32_t& unit) {
  if (text_.size() - at_ < 4) return fail("the JSON ends inside an escape");
  const char* begin = text_.data() + at_;
  const auto [end, reason] = std::from_chars(begin, begin + 4, unit, 16);
  if (reason != std::errc() || end != begin + 4) return fail("\\u without four hex digits");
  at_ += 4;
  return true;
}

bool JsonReader::escape(std::string* value) {
  ++at_;
  if (at_ >= text_.size()) return fail("the JSON ends inside an escape");
  static constexpr std::string_view kFrom = "\"\\/bfnrt";
  static constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
  const char c = text_[at_];
  if (const size_t which = kFrom.find(c); which != std::string_view::npos) {
    ++at_;
    if (value != nullptr) value->push_back(kTo[which]);
    return true;
  }
  if (c != 'u') return fail(join("unknown escape ", quoted(text_.substr(at_ - 1, 2))));
  ++at_;
  uint32_t point = 0;
  if (!hex4(point)) return false;
  if (point >= 0xdc00 && point < 0xe000) return fail("a lone surrogate in an escape");
  if (point >= 0xd800 && point < 0xdc00) {
    uint32_t low = 0;
    if (text_.substr(at_, 2) != "\\u") return fail("a lone surrogate in an escape");
    at_ += 2;
    if (!hex4(low)) return false;
    if (low < 0xdc00 || low >= 0xe000) return fail("a lone surrogate in an escape");
    point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(value, point);
  return true;
}

// One well-formed multi-byte sequence (Unicode 3.9, table 3-7): no overlong forms, no surrogates,
// at most U+10FFFF.
bool JsonReader::utf8_sequence(std::string* value) {
  const auto byte = [&](size_t i) -> uint32_t {
    return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0u;
  };
  const auto continues = [](uint32_t b) { return (b & 0xc0u) == 0x80u; };
  const uint32_t a = byte(0), b = byte(1), c = byte(2), d = byte(3);
  size_t n = 0;
  if (a >= 0xc2 && a <= 0xdf && continues(b)) {
    n = 2;
  } else if (a >= 0xe0 && a <= 0xef && continues(b) && continues(c)) {
    const bool overlong = a == 0xe0 && b < 0xa0;
    const bool surrogate = a == 0xed && b >= 0xa0;
    n = overlong || surrogate ? 0 : 3;
  } else if (a >= 0xf0 && a <= 0xf4 && continues(b) && continues(c) && continues(d)) {
    const bool overlong = a == 0xf0 && b < 0x90;
    const bool beyond = a == 0xf4 && b >= 0x90;
    n = overlong || beyond ? 0 : 4;
  }
  if (n == 0) return fail(join("not valid UTF-8: byte 0x", absl::Hex(a, absl::kZeroPad2)));
  if (value != nullptr) value->append(text_, at_, n);
  at_ += n;
  return true;
}

bool JsonReader::read_number(std::string_view& spelling, std::string_view context) {
  if (!ok()) return false;
  skip_space();
  const size_t start = at_;
  const auto peek = [&] { return at_ < text_.size() ? text_[at_] : '\0'; };
  const auto digits = [&] {
    const size_t from = at_;
    while (is_digit(peek())) ++at_;
    return at_ > from;
  };
  if (peek() != '-' && !is_digit(peek())) return unexpected("a number", context);
  if (peek() == '-') ++at_;
  const bool zero = peek() == '0';
  const size_t first_digit = at_;
  if (!digits()) return unexpected("a digit", context);
  if (zero && at_ - first_digit > 1) return fail("a number with a leading zero");
  if (peek() == '.') {
    ++at_;
    if (!digits()) return unexpected("a digit", context);
  }
  if (peek() == 'e' || peek() == 'E') {
    ++at_;
    if (peek() == '+' || peek() == '-') ++at_;
    if (!digits()) return unexpected("a digit", context);
  }
  spelling = text_.substr(start, at_ - start);
  return true;
}

bool JsonReader::read_size(int64_t& value, std::string_view context) {
  std::string_view spelling;
  if (!read_number(spelling, context)) return false;
  const char* end = spelling.data() + spelling.size();
  const auto [stop, reason] = std::from_chars(spelling.data(), end, value);
  if (reason == std::errc() && stop == end && spelling[0] != '-') return true;
  return fail(
      join(context, ": ", spelling.substr(0, 100), " is not a whole number from 0 to 2^63 - 1"));
}

bool JsonReader::literal(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return unexpected("a value", "");
  at_ += word.size();
  return true;
}

// Walks with a stack of its own (one bit a level), so that hostile depth costs nothing.
bool JsonReader::skip_value() {
  const int base = depth_;
  uint64_t objects = 0;  // bit d: the container opened at depth d is an object
  std::vector<absl::flat_hash_set<std::string>> keys;  // of the containers that are open
  std::string key;
  do {
    if (!ok()) return false;
    if (depth_ > base) {
      const bool in_object = (objects >> (depth_ - 1)) & 1u;
      if (!(in_object ? next_key(key) : next_element())) {  // closed, or failed
        keys.pop_back();
        continue;
      }
      if (in_object && !keys.back().insert(key).second) {
        return fail(join("duplicate key ", quoted(key)));
      }
    }
    skip_space();
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    std::string_view number;
    if (c == '{' || c == '[') {
      if (!open(c, "")) return false;
      keys.emplace_back();
      const uint64_t bit = uint64_t{1} << (depth_ - 1);
      objects = c == '{' ? objects | bit : objects & ~bit;
    } else if (c == '"') {
      string_body(nullptr);
    } else if (c == 't' || c == 'f' || c == 'n') {
      literal(c == 't' ? "true" : c == 'f' ? "false" : "null");
    } else if (c == '-' || is_digit(c)) {
      read_number(number, "");
    } else {
      unexpected("a value", "");
    }
  } while (ok() && depth_ > base);
  return ok();
}

bool JsonReader::at_end() {
  if (!ok()) return false;
  skip_space();
  if (at_ < text_.size()) return unexpected("the end", "");
  return true;
}

}  // namespace mm2
