#include "chat/value.h"

#include <charconv>
#include <cstdlib>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"
#include "base/json.h"
#include "chat/json_text.h"
#include "chat/printable.h"

namespace mm2::chat {
namespace {

// Builds the document without recursion and stops at the first broken rule.
class Builder {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  explicit Builder(Value& root) : root_(root) {}

  bool null() { return place(Value()); }
  bool boolean(bool value) {
    Value v;
    v.kind = Value::Kind::boolean;
    v.flag = value;
    return place(std::move(v));
  }
  bool number_integer(number_integer_t value) { return integer(absl::StrCat(value)); }
  bool number_unsigned(number_unsigned_t value) { return integer(absl::StrCat(value)); }
  bool number_float(number_float_t value, const string_t& spelling) {
    if (spelling.find_first_of(".eE") == std::string::npos) return integer(spelling);
    Value v;
    v.kind = Value::Kind::real;
    v.real = value;
    return place(std::move(v));
  }
  bool string(string_t& value) {
    Value v;
    v.kind = Value::Kind::string;
    v.text = std::move(value);
    return place(std::move(v));
  }
  bool binary(binary_t&) { return fail("binary value"); }
  bool start_object(size_t) { return open(Value::Kind::object); }
  bool start_array(size_t) { return open(Value::Kind::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(string_t& name) {
    Level& level = levels_.back();
    const auto [at, is_new] = level.index.try_emplace(name, level.node->items.size());
    level.slot = at->second;
    if (is_new) {
      level.node->keys.push_back(std::move(name));
      level.node->items.emplace_back();
    }
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1..."
    std::string_view text = e.what();
    if (const size_t at = text.find("] "); at != std::string_view::npos) text.remove_prefix(at + 2);
    return fail(std::string(text));
  }

  const std::string& reason() const { return reason_; }

 private:
  struct Level {
    Value* node;
    size_t slot = 0;  // of an object: where the value of the last key goes
    absl::flat_hash_map<std::string, size_t> index;
  };

  bool fail(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return false;
  }
  bool integer(std::string digits) {
    Value v;
    v.kind = Value::Kind::integer;
    v.text = std::move(digits);
    return place(std::move(v));
  }
  Value* put(Value&& value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.node->is_array()) return &level.node->items.emplace_back(std::move(value));
    return &(level.node->items[level.slot] = std::move(value));
  }
  bool place(Value&& value) {
    put(std::move(value));
    return true;
  }
  bool open(Value::Kind kind) {
    if (static_cast<int>(levels_.size()) >= kMaxValueDepth) {
      return fail(absl::StrCat("nesting depth above ", kMaxValueDepth));
    }
    Value v;
    v.kind = kind;
    levels_.push_back({put(std::move(v)), 0, {}});
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  Value& root_;
  std::vector<Level> levels_;
  std::string reason_;
};

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

// repr() of a str: single quotes unless only single ones occur inside.
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
  append_escaped(out, text);
  out += '"';
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

Result<Value> parse_value(std::string_view text, const std::string& what) {
  Value root;
  Builder builder(root);
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    return error(Code::format, what, ": starts with a byte order mark, JSON must not");
  }
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return error(Code::format, what, ": ",
                 builder.reason().empty() ? std::string("not JSON") : builder.reason());
  }
  return root;
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
