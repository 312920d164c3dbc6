#include "text/json_cursor.h"

#include <algorithm>
#include <limits>

#include "text/json_scan.h"
#include "text/utf8.h"

namespace mm2 {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

Status JsonCursor::fail(const std::string& problem, size_t position) const {
  const std::string_view before = text_.substr(0, position);
  const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  const size_t line_start = before.rfind('\n');  // npos + 1 == 0
  return error(Code::format, what_, ": line ", line, ", column ", position - (line_start + 1) + 1,
               ": ", problem);
}

Status JsonCursor::unexpected(char wanted) const {
  return fail(join("expected '", std::string(1, wanted), "', found ",
                   position_ == text_.size() ? std::string("the end")
                                             : join("byte ", int{text_[position_] & 0xFF})));
}

Status JsonCursor::expect(char wanted) {
  if (peek() != wanted || position_ == text_.size()) return unexpected(wanted);
  ++position_;
  return {};
}

Status JsonCursor::next_item(char closing, bool* first, bool* more) {
  if (peek() == closing) {
    ++position_;
    *more = false;
    return {};
  }
  if (!*first) {
    MM2_RETURN_IF_ERROR(expect(','));
    if (peek() == closing) return fail("a comma before the closing bracket");
  }
  *first = false;
  *more = true;
  return {};
}

Status JsonCursor::string(std::string_view* value) {
  MM2_RETURN_IF_ERROR(expect('"'));
  const size_t begin = position_;
  position_ = plain_end(text_, begin);
  if (position_ < text_.size() && text_[position_] == '"') {
    *value = text_.substr(begin, position_ - begin);
    ++position_;
    return {};
  }
  unescaped_.assign(text_.substr(begin, position_ - begin));
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == '"') {
      ++position_;
      *value = unescaped_;
      return {};
    }
    if (c == '\\') {
      MM2_RETURN_IF_ERROR(escape(&unescaped_));
    } else if (is_plain_in_json(c)) {
      const size_t end = plain_end(text_, position_);
      unescaped_.append(text_.substr(position_, end - position_));
      position_ = end;
    } else {
      return fail("a control character inside a string");
    }
  }
  return fail("a string without end");
}

Status JsonCursor::hex4(uint32_t* unit) {
  *unit = 0;
  if (text_.size() - position_ < 4) return fail("a \\u escape without four digits");
  for (int i = 0; i < 4; ++i, ++position_) {
    const char c = text_[position_];
    const bool is_digit = c >= '0' && c <= '9';
    const char letter = static_cast<char>(c | 0x20);
    if (!is_digit && (letter < 'a' || letter > 'f'))
      return fail("a \\u escape without four digits");
    *unit = *unit << 4 | static_cast<uint32_t>(is_digit ? c - '0' : letter - 'a' + 10);
  }
  return {};
}

Status JsonCursor::escape(std::string* out) {
  constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  ++position_;  // the backslash
  const char name = position_ < text_.size() ? text_[position_] : '\0';
  ++position_;
  if (const size_t i = kNames.find(name); name != 0 && i != std::string_view::npos) {
    out->push_back(kMeanings[i]);
    return {};
  }
  if (name != 'u') {
    --position_;
    return fail("an unknown escape");
  }
  uint32_t unit = 0;
  MM2_RETURN_IF_ERROR(hex4(&unit));
  if (unit >= 0xDC00 && unit < 0xE000) return fail("a low surrogate without a high one");
  if (unit >= 0xD800 && unit < 0xDC00) {
    uint32_t low = 0;
    if (text_.substr(position_, 2) != "\\u") return fail("a high surrogate without a low one");
    position_ += 2;
    MM2_RETURN_IF_ERROR(hex4(&low));
    if (low < 0xDC00 || low > 0xDFFF) return fail("a high surrogate without a low one");
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }
  utf8::append(unit, out);
  return {};
}

Status JsonCursor::key(std::string_view* value) {
  MM2_RETURN_IF_ERROR(string(value));
  return expect(':');
}

Status JsonCursor::integer(uint64_t* value) {
  peek();
  const size_t begin = position_;
  uint64_t sum = 0;
  while (position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9') {
    const uint64_t digit = static_cast<uint64_t>(text_[position_] - '0');
    if (sum > (std::numeric_limits<uint64_t>::max() - digit) / 10)
      return fail("a number too large");
    sum = sum * 10 + digit;
    ++position_;
  }
  const size_t n_digits = position_ - begin;
  if (n_digits == 0) return fail("expected an integer that is not negative");
  if (n_digits > 1 && text_[begin] == '0') return fail("a number with a leading zero");
  const char after = position_ < text_.size() ? text_[position_] : '\0';
  if (after == '.' || after == 'e' || after == 'E') return fail("expected an integer");
  *value = sum;
  return {};
}

Status JsonCursor::skip_string() {
  const size_t begin = position_;
  position_ = plain_end(text_, begin + 1);
  while (position_ < text_.size() && text_[position_] != '"') {
    position_ += text_[position_] == '\\' ? 2 : 1;
    if (position_ < text_.size()) position_ = plain_end(text_, position_);
  }
  if (position_ >= text_.size()) {
    position_ = begin;
    return fail("a string without end");
  }
  ++position_;
  return {};
}

Status JsonCursor::skip(std::string_view* value) {
  peek();
  const size_t begin = position_;
  int depth = 0;
  do {
    const char c = peek();
    if (c == 0) return fail("the text ends inside a value");
    if (c == '"') {
      MM2_RETURN_IF_ERROR(skip_string());
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return fail(join("more than ", kMaxDepth, " levels of nesting"));
      ++position_;
    } else if (c == '}' || c == ']') {
      if (--depth < 0) return fail("expected a value");
      ++position_;
    } else if (c == ',' || c == ':') {
      if (depth == 0) return fail("expected a value");
      ++position_;
    } else {
      while (position_ < text_.size() &&
             std::string_view(",:]}[{\" \n\r\t").find(text_[position_]) == std::string_view::npos)
        ++position_;
    }
  } while (depth > 0);
  *value = text_.substr(begin, position_ - begin);
  return {};
}

Status JsonCursor::end() {
  if (peek() != 0 || position_ != text_.size()) return fail("text behind the end of the document");
  return {};
}

}  // namespace mm2
