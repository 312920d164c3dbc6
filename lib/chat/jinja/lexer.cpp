#include "chat/jinja/lexer.h"

#include <algorithm>
#include <utility>

#include "base/join.h"
#include "chat/jinja/ast.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool hex_digit(char c) {
  return digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
}
bool name_char(char c) {
  return digit(c) || c == '_' || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    text_.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r') {
        if (i + 1 < source.size() && source[i + 1] == '\n') continue;
        text_ += '\n';
      } else {
        text_ += source[i];
      }
    }
    if (!text_.empty() && text_.back() == '\n') text_.pop_back();
  }

  Result<std::vector<Lexeme>> run() {
    while (at_ < text_.size()) MM2_RETURN_IF_ERROR(root());
    MM2_RETURN_IF_ERROR(within_limit());
    add(Token::end, "");
    return std::move(out_);
  }

 private:
  void add(Token type, std::string text) { out_.push_back({type, line_, std::move(text)}); }
  Status fail(const std::string& what) const { return syntax_error(line_, what); }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool starts(std::string_view s) const {
    return std::string_view(text_).substr(at_, s.size()) == s;
  }
  void move_to(size_t to) {
    if (to > at_) line_starting_ = text_[to - 1] == '\n';
    line_ += static_cast<uint32_t>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                              text_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  size_t skip_space(size_t at) const {
    const std::string_view rest = std::string_view(text_).substr(at);
    return at + rest.size() - strip_left(rest).size();
  }

  // Template text up to `to`, where a tag begins; `sign` stands behind the tag's opening.
  void add_data(size_t to, char sign, bool is_print) {
    std::string_view data = std::string_view(text_).substr(at_, to - at_);
    if (sign == '-') {
      data = strip_right(data);
    } else if (sign != '+' && !is_print) {
      const size_t newline = data.rfind('\n');
      const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) && begin < data.size() &&
          strip_left(data.substr(begin)).empty()) {
        data = data.substr(0, begin);
      }
    }
    if (!data.empty()) add(Token::data, std::string(data));
  }

  // If a raw tag opens at `at`, the offset behind it.
  size_t raw_begin(size_t at) const {
    at += 2;
    if (at < text_.size() && (text_[at] == '-' || text_[at] == '+')) ++at;
    at = skip_space(at);
    if (text_.compare(at, 3, "raw") != 0) return 0;
    at = skip_space(at + 3);
    if (text_.compare(at, 3, "-%}") == 0) return skip_space(at + 3);
    return text_.compare(at, 2, "%}") == 0 ? at + 2 : 0;
  }

  Status within_limit() const {
    if (out_.size() <= kMaxTokens) return {};
    return error(Code::budget, "line ", line_, ": a template of more than ", kMaxTokens, " tokens");
  }

  Status root() {
    MM2_RETURN_IF_ERROR(within_limit());
    size_t open = at_;
    for (;; ++open) {
      open = text_.find('{', open);
      if (open == std::string::npos || open + 1 >= text_.size()) {
        add(Token::data, text_.substr(at_));
        move_to(text_.size());
        return {};
      }
      const char second = text_[open + 1];
      if (second == '{' || second == '%' || second == '#') break;
    }
    const char second = text_[open + 1];
    const char sign = open + 2 < text_.size() ? text_[open + 2] : '\0';
    add_data(open, sign, second == '{');
    if (second == '%') {
      if (const size_t behind = raw_begin(open); behind != 0) {
        move_to(behind);
        return raw();
      }
    }
    move_to(open + 2 + (sign == '-' || sign == '+'));
    if (second == '#') return comment();
    add(second == '{' ? Token::print_begin : Token::tag_begin, "");
    return inside(second == '{');
  }

  // Behind the end of a block tag at `at` (which is its sign or '%' or '#'); 0: no end here.
  size_t block_end(size_t at, char mark) const {
    const auto is = [&](size_t i) { return text_.compare(i, 2, std::string{mark, '}'}) == 0; };
    if (at >= text_.size()) return 0;
    if (text_[at] == '+' && is(at + 1)) return at + 3;
    if (text_[at] == '-' && is(at + 1)) return skip_space(at + 3);
    if (!is(at)) return 0;
    return at + 2 < text_.size() && text_[at + 2] == '\n' ? at + 3 : at + 2;
  }

  Status comment() {
    if (at_ >= text_.size()) return {};  // Jinja2 stops looking there
    for (size_t at = at_; at < text_.size(); ++at) {
      if (const size_t behind = block_end(at, '#'); behind != 0) {
        move_to(behind);
        return {};
      }
    }
    return fail("Missing end of comment tag");
  }

  Status raw() {
    for (size_t open = text_.find("{%", at_); open != std::string::npos;
         open = text_.find("{%", open + 1)) {
      const char sign = open + 2 < text_.size() ? text_[open + 2] : '\0';
      size_t at = open + 2 + (sign == '-' || sign == '+');
      at = skip_space(at);
      if (text_.compare(at, 6, "endraw") != 0) continue;
      const size_t behind = block_end(skip_space(at + 6), '%');
      if (behind == 0) continue;
      add_data(open, sign, false);
      move_to(behind);
      return {};
    }
    return fail("Missing end of raw directive");
  }

  Status inside(bool is_print) {
    std::string open;  // brackets not yet closed
    while (at_ < text_.size()) {
      if (open.empty()) {
        size_t behind = 0;
        if (!is_print) {
          behind = block_end(at_, '%');
        } else if (starts("-}}")) {
          behind = skip_space(at_ + 3);
        } else if (starts("}}")) {
          behind = at_ + 2;
        }
        if (behind != 0) {
          add(is_print ? Token::print_end : Token::tag_end, "");
          move_to(behind);
          return {};
        }
      }
      MM2_RETURN_IF_ERROR(one_token(open));
      if (out_.size() > kMaxTokens) return within_limit();
    }
    return {};
  }

  Status one_token(std::string& open) {
    const size_t behind = skip_space(at_);
    if (behind != at_) {
      move_to(behind);
      return {};
    }
    const char c = peek();
    if (digit(c)) return number();
    if (name_char(c)) {
      size_t end = at_;
      while (end < text_.size() && name_char(text_[end])) ++end;
      add(Token::name, text_.substr(at_, end - at_));
      move_to(end);
      return {};
    }
    if (c == '\'' || c == '"') return string(c);
    for (const char* op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (starts(op)) {
        add(Token::op, op);
        move_to(at_ + 2);
        return {};
      }
    }
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos || c == '\0') {
      return fail(mm2::join("unexpected char '", std::string(1, c), "' at ", at_));
    }
    const std::string_view openers = "([{";
    const std::string_view closers = ")]}";
    if (openers.find(c) != std::string_view::npos) {
      open += closers[openers.find(c)];
    } else if (closers.find(c) != std::string_view::npos) {
      if (open.empty()) return fail(mm2::join("unexpected '", std::string(1, c), "'"));
      if (open.back() != c) {
        return fail(mm2::join("unexpected '", std::string(1, c), "', expected '",
                              std::string(1, open.back()), "'"));
      }
      open.pop_back();
    }
    add(Token::op, std::string(1, c));
    move_to(at_ + 1);
    return {};
  }

  // Digits with single underscores between them; 0: none at `at`.
  size_t digits(size_t at) const {
    if (at >= text_.size() || !digit(text_[at])) return 0;
    while (at < text_.size() && (digit(text_[at]) || (text_[at] == '_' && at + 1 < text_.size() &&
                                                      digit(text_[at + 1]))))
      ++at;
    return at;
  }

  Status number() {
    const auto plain = [](std::string_view s) {
      std::string out;
      for (const char c : s) {
        if (c != '_') out += c;
      }
      return out;
    };
    const char kind = static_cast<char>(peek(1) | 32);
    if (peek() == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) {
      const uint32_t base = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
      size_t end = at_ + 2;
      const auto fits = [&](size_t i) {
        return i < text_.size() && hex_digit(text_[i]) &&
               (base == 16 || text_[i] < static_cast<char>('0' + base));
      };
      while (fits(end) || (end < text_.size() && text_[end] == '_' && fits(end + 1))) ++end;
      if (end > at_ + 2) {
        std::string body = plain(std::string_view(text_).substr(at_, end - at_));
        if (body.size() > kMaxDigits) return fail("integer literal too long");
        add(Token::integer, std::move(body));
        move_to(end);
        return {};
      }
    }
    size_t end = digits(at_);
    bool is_real = false;
    const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
    if (!after_dot) {
      if (end < text_.size() && text_[end] == '.') {
        if (const size_t fraction = digits(end + 1); fraction != 0) {
          end = fraction;
          is_real = true;
        }
      }
      if (end < text_.size() && (text_[end] | 32) == 'e') {
        const size_t sign =
            end + 1 < text_.size() && (text_[end + 1] == '+' || text_[end + 1] == '-');
        if (const size_t exponent = digits(end + 1 + sign); exponent != 0) {
          end = exponent;
          is_real = true;
        }
      }
    }
    if (!is_real && peek() == '0') {  // no other digit may follow a leading zero
      end = at_ + 1;
      while (end < text_.size() &&
             (text_[end] == '0' ||
              (text_[end] == '_' && end + 1 < text_.size() && text_[end + 1] == '0')))
        ++end;
    }
    if (end - at_ > kMaxDigits) return fail("number literal too long");
    std::string body = plain(std::string_view(text_).substr(at_, end - at_));
    if (!is_real && body.find_first_not_of('0') == std::string::npos) body.assign(1, '0');
    add(is_real ? Token::real : Token::integer, std::move(body));
    move_to(end);
    return {};
  }

  Status string(char quote) {
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) {
      return fail(mm2::join("unexpected char '", std::string(1, quote), "' at ", at_));
    }
    std::string value;
    MM2_RETURN_IF_ERROR(unescape(std::string_view(text_).substr(at_ + 1, end - at_ - 1), value));
    add(Token::string, std::move(value));
    move_to(end + 1);
    return {};
  }

  Status unescape(std::string_view s, std::string& out) const {
    for (size_t i = 0; i < s.size(); ++i) {
      if (s[i] != '\\' || i + 1 >= s.size()) {
        out += s[i];
        continue;
      }
      const char c = s[++i];
      constexpr std::string_view kFrom = "\\'\"abfnrtv";
      constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t at = kFrom.find(c); at != std::string_view::npos) {
        out += kTo[at];
      } else if (c == '\n') {
        continue;
      } else if (c >= '0' && c <= '7') {
        char32_t code = 0;
        size_t n = 0;
        for (; n < 3 && i + n < s.size() && s[i + n] >= '0' && s[i + n] <= '7'; ++n) {
          code = code * 8 + static_cast<char32_t>(s[i + n] - '0');
        }
        i += n - 1;
        append_code_point(out, code);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        char32_t code = 0;
        for (size_t k = 1; k <= n; ++k) {
          if (i + k >= s.size() || !hex_digit(s[i + k])) {
            return fail(mm2::join("truncated \\", std::string(1, c), " escape"));
          }
          const char h = s[i + k];
          code = code * 16 + static_cast<char32_t>(digit(h) ? h - '0' : (h | 32) - 'a' + 10);
        }
        if (code > 0x10FFFF) return fail("illegal Unicode character");
        i += n;
        append_code_point(out, code);
      } else if (c == 'N') {
        return fail("malformed \\N character escape");
      } else {
        out += '\\';
        out += c;
      }
    }
    return {};
  }

  static constexpr size_t kMaxDigits = 4300;

  std::string text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_starting_ = true;
  std::vector<Lexeme> out_;
};

}  // namespace

Status syntax_error(uint32_t line, const std::string& what) {
  return error(Code::format, "TemplateSyntaxError: ", what, " (line ", line, ")");
}

Result<std::vector<Lexeme>> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace mm2::chat::jinja
