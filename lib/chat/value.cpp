#include "chat/value.h"

#include <charconv>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "chat/printable.h"
#include "text/json_scan.h"

namespace mm2::chat {
namespace {

// Reads one code point of valid UTF-8 at `at` and moves behind it.
char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) -> char32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const char32_t lead = byte(at);
  const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) code = code << 6 | (byte(at + i) & 0x3F);
  at += length;
  return code;
}

void append_escape(std::string& out, char c) {
  constexpr std::string_view kNames = "\"\\bfnrt", kMeanings = "\"\\\b\f\n\r\t";
  if (const size_t i = kMeanings.find(c); i != std::string_view::npos) {
    out += '\\';
    out += kNames[i];
  } else {
    constexpr std::string_view kHex = "0123456789abcdef";
    out += "\\u00";
    out += kHex[static_cast<unsigned char>(c) >> 4];
    out += kHex[static_cast<unsigned char>(c) & 15];
  }
}

// JSON and repr() differ in the words, the strings and nothing else. Depth is at most
// kMaxValueDepth.
void append_nested(std::string& out, const Value& value, bool json) {
  const auto string = [&](std::string_view text) {
    json ? append_json_string(out, text) : append_repr_string(out, text);
  };
  switch (value.kind) {
    case Value::Kind::null:
      out += json ? "null" : "None";
      break;
    case Value::Kind::boolean:
      out += value.flag ? (json ? "true" : "True") : (json ? "false" : "False");
      break;
    case Value::Kind::integer:
      out += value.text;
      break;
    case Value::Kind::real:
      append_float(out, value.real);
      break;
    case Value::Kind::string:
      string(value.text);
      break;
    case Value::Kind::array:
    case Value::Kind::object:
      out += value.is_array() ? '[' : '{';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ", ";
        if (value.is_object()) {
          string(value.keys[i]);
          out += ": ";
        }
        append_nested(out, value.items[i], json);
      }
      out += value.is_array() ? ']' : '}';
      break;
  }
}

}  // namespace

// Single quotes unless only single ones occur inside.
void append_repr_string(std::string& out, std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos;
  const char quote = single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(begin, at - begin);
    } else if (c < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<uint32_t>(c));
    } else {
      absl::StrAppendFormat(&out, "\\U%08x", static_cast<uint32_t>(c));
    }
  }
  out += quote;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (size_t at = 0;;) {
    const size_t end = plain_end(text, at);
    out.append(text, at, end - at);
    if (end == text.size()) break;
    append_escape(out, text[end]);
    at = end + 1;
  }
  out += '"';
}

const Value* Value::find(std::string_view name) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == name) return &items[i];
  }
  return nullptr;
}

bool Value::truthy() const {
  switch (kind) {
    case Kind::null:
      return false;
    case Kind::boolean:
      return flag;
    case Kind::integer:
      return text != "0";
    case Kind::real:
      return real != 0;
    case Kind::string:
      return !text.empty();
    case Kind::array:
    case Kind::object:
      return !items.empty();
  }
  return false;
}

void append_str(std::string& out, const Value& value) {
  if (value.is_string()) {
    out += value.text;
  } else {
    append_nested(out, value, /*json=*/false);
  }
}

void append_json(std::string& out, const Value& value) {
  append_nested(out, value, /*json=*/true);
}

void append_float(std::string& out, double value) {
  char buffer[40];
  const auto [end, failed] =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  (void)failed;  // 17 digits, a sign, a point and an exponent always fit
  std::string_view spelling(buffer, static_cast<size_t>(end - buffer));
  const size_t e = spelling.find('e');
  if (e == std::string_view::npos) {  // inf or nan: no JSON document holds them
    out += spelling;
    return;
  }
  if (spelling[0] == '-') out += '-';
  std::string digits;
  for (const char c : spelling.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  int exponent = 0;
  for (const char c : spelling.substr(e + 2)) exponent = exponent * 10 + (c - '0');
  if (spelling[e + 1] == '-') exponent = -exponent;

  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) (out += '.') += digits.substr(1);
    absl::StrAppendFormat(&out, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    absl::StrAppend(&out, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  } else {
    const auto before = static_cast<size_t>(exponent) + 1;
    if (digits.size() <= before) digits.append(before - digits.size() + 1, '0');
    absl::StrAppend(&out, digits.substr(0, before), ".", digits.substr(before));
  }
}

}  // namespace mm2::chat
