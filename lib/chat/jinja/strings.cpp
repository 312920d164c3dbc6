#include "chat/jinja/strings.h"

#include "text/unicode/tables.h"

namespace mm2::chat::jinja {

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) -> char32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const char32_t lead = byte(at);
  const size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) code = code << 6 | (byte(at + i) & 0x3F);
  at += length;
  if (at > text.size()) at = text.size();
  return code;
}

size_t previous(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

void append_code_point(std::string& out, char32_t c) {
  const auto put = [&](char32_t b) { out += static_cast<char>(b); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

size_t length_of(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

size_t offset_of(std::string_view text, size_t index) {
  size_t at = 0;
  while (index > 0 && at < text.size()) {
    next_code_point(text, at);
    --index;
  }
  return at;
}

std::vector<std::string_view> code_points(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    next_code_point(text, at);
    out.push_back(text.substr(begin, at - begin));
  }
  return out;
}

bool is_python_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view strip_left(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!is_python_space(next_code_point(text, next))) break;
    at = next;
  }
  return text.substr(at);
}

std::string_view strip_right(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t at = previous(text, end);
    const size_t begin = at;
    if (!is_python_space(next_code_point(text, at))) break;
    end = begin;
  }
  return text.substr(0, end);
}

std::string_view strip_left(std::string_view text, std::string_view chars) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    next_code_point(text, next);
    if (chars.find(text.substr(at, next - at)) == std::string_view::npos) break;
    at = next;
  }
  return text.substr(at);
}

std::string_view strip_right(std::string_view text, std::string_view chars) {
  size_t end = text.size();
  while (end > 0) {
    const size_t begin = previous(text, end);
    if (chars.find(text.substr(begin, end - begin)) == std::string_view::npos) break;
    end = begin;
  }
  return text.substr(0, end);
}

namespace {

// Digraphs with a title form between the capital and the small letter: the capital, or 0.
char32_t digraph(char32_t c) {
  for (const char32_t first : {0x1C4, 0x1C7, 0x1CA, 0x1F1}) {
    if (c >= first && c <= first + 2) return first;
  }
  return 0;
}

}  // namespace

char32_t to_upper(char32_t c) {
  if (const char32_t first = digraph(c); first != 0) return first;
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
  if (c == 0xB5) return 0x39C;
  if ((c >= 0xE0 && c <= 0xFE && c != 0xF7)) return c - 32;
  if (c == 0xFF) return 0x178;
  if ((c >= 0x100 && c <= 0x137 && c != 0x131) || (c >= 0x14A && c <= 0x177) ||
      (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF) || (c >= 0x460 && c <= 0x481) ||
      (c >= 0x48A && c <= 0x4BF) || (c >= 0x4D0 && c <= 0x52F)) {
    return c & ~char32_t{1};
  }
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c % 2 == 0 ? c - 1 : c;
  if (c == 0x131) return 'I';
  if (c >= 0x3B1 && c <= 0x3C9) return c == 0x3C2 ? 0x3A3 : c - 32;
  if (c == 0x3AC) return 0x386;
  if (c >= 0x3AD && c <= 0x3AF) return c - 37;
  if (c == 0x3CC) return 0x38C;
  if (c >= 0x430 && c <= 0x44F) return c - 32;
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  if (c >= 0x561 && c <= 0x586) return c - 48;
  return c;
}

char32_t to_lower(char32_t c) {
  if (const char32_t first = digraph(c); first != 0) return first + 2;
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;
  if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14A && c <= 0x177) ||
      (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF) || (c >= 0x460 && c <= 0x481) ||
      (c >= 0x48A && c <= 0x4BF) || (c >= 0x4D0 && c <= 0x52F)) {
    return c | 1;
  }
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c % 2 == 1 ? c + 1 : c;
  if (c == 0x178) return 0xFF;
  if (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) return c + 32;
  if (c == 0x386) return 0x3AC;
  if (c >= 0x388 && c <= 0x38A) return c + 37;
  if (c == 0x38C) return 0x3CC;
  if (c >= 0x410 && c <= 0x42F) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  if (c >= 0x531 && c <= 0x556) return c + 48;
  return c;
}

bool is_letter(char32_t c) {
  if (c < 0x80) return (c | 32) >= 'a' && (c | 32) <= 'z';
  return c < 0x110000 && (unicode::flags(c) & unicode::kLetter) != 0;
}

bool is_digit(char32_t c) {
  return c >= '0' && c <= '9';
}

bool is_cased(char32_t c) {
  return to_upper(c) != c || to_lower(c) != c || c == 0xDF;
}

namespace {

void append_upper(std::string& out, char32_t c) {
  if (c == 0xDF) {
    out += "SS";
  } else {
    append_code_point(out, to_upper(c));
  }
}

void append_lower(std::string& out, char32_t c, std::string_view rest) {
  // A capital sigma that ends a word becomes the final form.
  if (c == 0x3A3 && !out.empty()) {
    size_t at = previous(out, out.size());
    size_t next = 0;
    if (is_letter(next_code_point(out, at)) &&
        (rest.empty() || !is_letter(next_code_point(rest, next)))) {
      append_code_point(out, 0x3C2);
      return;
    }
  }
  append_code_point(out, to_lower(c));
}

template <typename F>
std::string each(std::string_view text, F f) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    f(out, c, text.substr(at));
  }
  return out;
}

void append_title(std::string& out, char32_t c) {
  if (c == 0xDF) {
    out += "Ss";
  } else if (const char32_t first = digraph(c); first != 0) {
    append_code_point(out, first + 1);
  } else {
    append_code_point(out, to_upper(c));
  }
}

}  // namespace

std::string upper(std::string_view text) {
  return each(text, [](std::string& out, char32_t c, std::string_view) { append_upper(out, c); });
}

std::string lower(std::string_view text) {
  return each(text, [](std::string& out, char32_t c, std::string_view rest) {
    append_lower(out, c, rest);
  });
}

std::string capitalize(std::string_view text) {
  return each(text, [](std::string& out, char32_t c, std::string_view rest) {
    out.empty() ? append_title(out, c) : append_lower(out, c, rest);
  });
}

std::string title(std::string_view text) {
  bool inside = false;
  return each(text, [&](std::string& out, char32_t c, std::string_view rest) {
    inside ? append_lower(out, c, rest) : append_title(out, c);
    inside = is_cased(c);
  });
}

std::string swapcase(std::string_view text) {
  return each(text, [](std::string& out, char32_t c, std::string_view rest) {
    if (digraph(c) != 0 && c == digraph(c) + 1) return append_code_point(out, c);
    to_lower(c) != c ? append_lower(out, c, rest) : append_upper(out, c);
  });
}

LineEnd find_line_end(std::string_view text, size_t from) {
  for (size_t at = from; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    const bool ends =
        (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == 13 && at < text.size() && text[at] == '\n') ++at;
    return {begin, at};
  }
  return {text.size(), text.size()};
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t count) {
  std::string out;
  size_t at = 0;
  if (from.empty()) {
    while (count != 0) {
      out += to;
      if (count > 0) --count;
      if (at >= text.size()) return out;
      const size_t begin = at;
      next_code_point(text, at);
      out += text.substr(begin, at - begin);
    }
    return out += text.substr(at);
  }
  while (count != 0) {
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
    if (count > 0) --count;
  }
  return out += text.substr(at);
}

std::vector<std::string_view> split_at(std::string_view text, char by) {
  std::vector<std::string_view> out;
  for (size_t at = text.find(by); at != std::string_view::npos; at = text.find(by)) {
    out.push_back(text.substr(0, at));
    text.remove_prefix(at + 1);
  }
  out.push_back(text);
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace mm2::chat::jinja
