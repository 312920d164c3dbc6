#include "chat/json_text.h"

#include <bitset>
#include <cmath>

#include "absl/strings/numbers.h"

namespace mm2::chat {
namespace {

unsigned char byte_at(std::string_view text, size_t i) {
  return static_cast<unsigned char>(text[i]);
}

struct Sequence {
  size_t length;  // bytes looked at that belong together
  enum { good, bad, cut } state;
};

// The UTF-8 sequence at `at`: good; bad, then `length` is its maximal ill-formed part (Unicode
// 3.9, table 3-7); cut, then the text ends inside what could become good.
Sequence sequence_at(std::string_view text, size_t at) {
  const unsigned char lead = byte_at(text, at);
  if (lead < 0x80) return {1, Sequence::good};
  if (lead < 0xC2 || lead > 0xF4) return {1, Sequence::bad};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = 0x80, high = 0xBF;  // of the second byte
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {i, Sequence::cut};
    const unsigned char c = byte_at(text, at + i);
    if (c < low || c > high) return {i, Sequence::bad};
    low = 0x80;
    high = 0xBF;
  }
  return {length, Sequence::good};
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Recognises one JSON value; the open brackets are a bit each.
class Checker {
 public:
  explicit Checker(std::string_view text) : text_(text) {}

  bool run() {
    do {  // one value per round
      skip_space();
      if (peek() == '{' || peek() == '[') {
        if (!open()) return false;
        if (needs_value_) continue;
      } else if (!scalar()) {
        return false;
      }
      if (!after_value()) return false;
    } while (depth_ > 0);
    skip_space();
    return at_ == text_.size();
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  // An opening bracket, and the first key; an empty collection is closed at once.
  bool open() {
    if (depth_ == kMaxJsonDepth) return false;
    const bool object = text_[at_++] == '{';
    skip_space();
    needs_value_ = false;
    if (take(object ? '}' : ']')) return true;
    is_object_[depth_++] = object;
    needs_value_ = true;
    return !object || key();
  }

  // Closing brackets, then a comma if anything is still open.
  bool after_value() {
    while (depth_ > 0) {
      skip_space();
      const bool object = is_object_[depth_ - 1];
      if (take(object ? '}' : ']')) {
        --depth_;
        continue;
      }
      if (!take(',')) return false;
      skip_space();
      return !object || key();
    }
    return true;
  }

  bool key() {
    if (!string()) return false;
    skip_space();
    return take(':');
  }

  bool scalar() {
    const char c = peek();
    if (c == '"') return string();
    if (c == '-' || is_digit(c)) return number();
    return take("true") || take("false") || take("null");
  }

  bool string() {
    if (!take('"')) return false;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') return ++at_, true;
      if (byte_at(text_, at_) < 0x20) return false;
      if (c == '\\') {
        if (!escape()) return false;
        continue;
      }
      const Sequence s = sequence_at(text_, at_);
      if (s.state != Sequence::good) return false;
      at_ += s.length;
    }
    return false;
  }

  bool escape() {
    ++at_;
    const char c = peek();
    ++at_;
    if (c != 'u')
      return c != '\0' && std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos;
    unsigned unit = 0, second = 0;
    if (!hex4(&unit)) return false;
    // Halves of a pair come together, or the text is no string to many readers.
    if ((unit & 0xFC00) == 0xD800)
      return take("\\u") && hex4(&second) && (second & 0xFC00) == 0xDC00;
    return (unit & 0xFC00) != 0xDC00;
  }

  bool hex4(unsigned* unit) {
    for (int i = 0; i < 4; ++i, ++at_) {
      const char h = peek();
      const bool letter = (h >= 'a' && h <= 'f') || (h >= 'A' && h <= 'F');
      if (!is_digit(h) && !letter) return false;
      *unit = *unit * 16 + static_cast<unsigned>(letter ? (h | 32) - 'a' + 10 : h - '0');
    }
    return true;
  }

  // An integer of any size; otherwise what a double can hold, because many readers refuse the rest.
  bool number() {
    const size_t begin = at_;
    take('-');
    if (!take('0') && !digits()) return false;
    const size_t whole = at_;
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) return false;
    }
    double value = 0;
    return at_ == whole ||
           (absl::SimpleAtod({text_.data() + begin, at_ - begin}, &value) && std::isfinite(value));
  }
  bool digits() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ > begin;
  }

  std::string_view text_;
  size_t at_ = 0;
  size_t depth_ = 0;
  bool needs_value_ = false;
  std::bitset<kMaxJsonDepth> is_object_;
};

}  // namespace

std::string_view trim(std::string_view text) {
  text = trim_right(text);
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

size_t unfinished_utf8(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t at = text.size() - back;
    if ((byte_at(text, at) & 0xC0) == 0x80) continue;  // a continuation: its lead is further left
    const Sequence s = sequence_at(text, at);
    return s.state == Sequence::cut && s.length == back ? back : 0;
  }
  return 0;
}

void append_escaped(std::string& out, std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    size_t run = at;  // bytes that stand for themselves
    while (run < text.size() && byte_at(text, run) - 0x20u < 0x60u && text[run] != '"' &&
           text[run] != '\\') {
      ++run;
    }
    if (run > at) out.append(text.data() + at, run - at);
    at = run;
    if (at == text.size()) break;
    const char c = text[at];
    if (byte_at(text, at) >= 0x80) {
      const Sequence s = sequence_at(text, at);
      out += s.state == Sequence::good ? text.substr(at, s.length) : "\xEF\xBF\xBD";
      at += s.length;
      continue;
    }
    ++at;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        out += "\\u00";
        out += c & 0x10 ? '1' : '0';
        out += "0123456789abcdef"[c & 0xF];
    }
  }
}

bool is_json(std::string_view text) {
  return Checker(text).run();
}

}  // namespace mm2::chat
