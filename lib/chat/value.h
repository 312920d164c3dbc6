// The values that a chat request is made of, as Python would hold and print them: templates are
// written for Jinja2, so a number, None or a list inside a message has to come out as Python spells
// it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace mm2::chat {

/// A JSON value with exact integers of any size and members in the order they were written. Text
/// and children belong to whoever made it: mostly a Document.
struct Value {
  enum class Kind : uint8_t { null, boolean, integer, real, string, array, object };

  Kind kind = Kind::null;
  bool flag = false;                       // boolean
  uint16_t depth = 0;                      // array, object: levels of collections in it and itself
  double real = 0;                         // real
  std::string_view text;                   // string; integer: its decimal digits
  std::span<const Value> items;            // array; object: values
  std::span<const std::string_view> keys;  // object: the names of `items`

  bool is_null() const { return kind == Kind::null; }
  bool is_string() const { return kind == Kind::string; }
  bool is_array() const { return kind == Kind::array; }
  bool is_object() const { return kind == Kind::object; }

  /// The member of an object; nullptr for other kinds and absent names. Linear in the members.
  const Value* find(std::string_view name) const;

  /// Whether Python takes it for true: not None, False, 0, "" or an empty collection.
  bool truthy() const;
};

/// str(value): what {{ value }} prints.
void append_str(std::string& out, const Value& value);

/// json.dumps(value, ensure_ascii=False): the `tojson` filter of chat templates.
void append_json(std::string& out, const Value& value);

/// A string as JSON, with its quotes. `text` is well-formed UTF-8.
void append_json_string(std::string& out, std::string_view text);

/// repr() of a str; `text` is well-formed UTF-8.
void append_repr_string(std::string& out, std::string_view text);

/// repr() of a float: the shortest digits that read back, "1.0", "1e+16", "1e-05".
void append_float(std::string& out, double value);

}  // namespace mm2::chat
