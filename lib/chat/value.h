// The values that a chat request is made of, as Python would hold and print them: templates are
// written for Jinja2, so a number, None or a list inside a message has to come out as Python spells
// it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2::chat {

/// A JSON value with exact integers of any size and members in the order they were written.
struct Value {
  enum class Kind : uint8_t { null, boolean, integer, real, string, array, object };

  Kind kind = Kind::null;
  bool flag = false;              // boolean
  double real = 0;                // real
  std::string text;               // string; integer: its decimal digits
  std::vector<Value> items;       // array; object: values
  std::vector<std::string> keys;  // object: the names of `items`

  bool is_null() const { return kind == Kind::null; }
  bool is_string() const { return kind == Kind::string; }
  bool is_array() const { return kind == Kind::array; }
  bool is_object() const { return kind == Kind::object; }

  /// The member of an object; nullptr for other kinds and absent names. Linear in the members.
  const Value* find(std::string_view name) const;

  /// Whether Python takes it for true: not None, False, 0, "" or an empty collection.
  bool truthy() const;
};

/// Nesting that parse_value accepts.
inline constexpr int kMaxValueDepth = 256;

/// Strict JSON in valid UTF-8, at most kMaxValueDepth deep; of equal keys the last one wins at the
/// place of the first, as in Python. `what` names the text in messages. Failures: Code::format.
Result<Value> parse_value(std::string_view text, const std::string& what);

/// str(value): what {{ value }} prints.
void append_str(std::string& out, const Value& value);

/// json.dumps(value, ensure_ascii=False): the `tojson` filter of chat templates.
void append_json(std::string& out, const Value& value);

/// repr() of a float: the shortest digits that read back, "1.0", "1e+16", "1e-05".
void append_float(std::string& out, double value);

}  // namespace mm2::chat
