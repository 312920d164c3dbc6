// From the text of a parameter to JSON, by the schema of the tool: rules T1 to T15 of the codec's
// contract (tests/data/chat/toolcall_cases.json).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "base/status.h"
#include "chat/document.h"
#include "chat/value.h"

namespace mm2::chat {

/// What a schema allows a value to be.
struct ParameterType {
  bool null = false;
  bool integer = false;
  bool number = false;
  bool boolean = false;
  bool container = false;  // object or array
  bool string = false;
  // Enums that have no type beside them, by spelling: strings as they are, and every member by its
  // JSON and printed forms, which are compared without the whitespace around a value.
  absl::flat_hash_map<std::string, const Value*> exact_members;
  absl::flat_hash_map<std::string, const Value*> members;

  bool untyped() const {
    return !(null || integer || number || boolean || container || string) && members.empty();
  }
  /// T9: the text null means null.
  bool takes_null() const;
  /// Whether a value can be a string and nothing else, so that it may be passed on unseen.
  bool only_string() const;
  /// Whether whatever is neither null, number nor boolean is a string.
  bool string_or_scalar() const { return !container && members.empty() && (string || untyped()); }
};

/// One tool as the codec sees it.
struct ToolSchema {
  absl::flat_hash_map<std::string, ParameterType> parameters;  // declared properties
  ParameterType additional;                                    // everything else

  const ParameterType& type_of(const std::string& name) const;
  bool declares(const std::string& name) const { return parameters.contains(name); }
};

/// The tools of a request. Immutable.
class ToolSchemas {
 public:
  /// `tools_json`: an array of {"type": "function", "function": {..}} or of the bare inner objects;
  /// "" and null are no tools. Schemas may be malformed in any way: what cannot be read counts as
  /// no type. Work is bounded; past the bound parameters count as untyped. Failures: Code::format,
  /// text that is not JSON, and Code::invalid_argument, JSON that is not an array.
  static Result<std::shared_ptr<const ToolSchemas>> parse(std::string_view tools_json);

  /// nullptr for an unknown tool.
  const ToolSchema* find(const std::string& name) const;

 private:
  std::string text_;
  Document document_;  // of text_; enum members point into it
  absl::flat_hash_map<std::string, ToolSchema> tools_;
};

/// The JSON text of a value of this type. Returns false, leaving `json` alone, when the value is a
/// string: `text` itself, every byte of it.
bool convert_value(const ParameterType& type, std::string_view text, std::string& json);

/// Watches the bytes of a value as they arrive and says when it can no longer be null, a number or
/// a boolean.
class ScalarWatch {
 public:
  explicit ScalarWatch(const ParameterType& type);
  /// Whether the value may still be something else than a string after this byte.
  bool feed(char c);

 private:
  bool word_goes_on(char c);

  bool null_, boolean_, number_;
  std::string word_;     // what null and booleans were compared with, lower case
  uint32_t blanks_ = 0;  // of the current run
  bool ended_ = false;   // whitespace after the word
};

}  // namespace mm2::chat
