#include "chat/jinja/strings.h"

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
