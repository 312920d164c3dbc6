// Typed reading of the members of one JSON object, with messages that name file, field, value and
// wish.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"

namespace mm2 {

class ConfigFields {
 public:
  /// `object` must be a JSON object and outlive this; `what` is its file, with the path of the
  /// object where it is nested.
  ConfigFields(const Json& object, std::string what) : object_(object), what_(std::move(what)) {}

  const std::string& what() const { return what_; }
  /// nullptr when absent or null.
  const Json* find(const char* field) const;

  /// A whole number within [low, high]; `found` says whether the field is there, `value` is left
  /// alone otherwise.
  Status integer(const char* field, int64_t low, int64_t high, int64_t& value, bool& found) const;
  Status required(const char* field, int64_t low, int64_t high, int32_t& value) const;
  /// A finite number within [low, high].
  Status number(const char* field, double low, double high, double& value, bool& found) const;
  Status boolean(const char* field, bool& value, bool& found) const;
  Status text(const char* field, std::string& value, bool& found) const;

  /// "what: field is <value>, <wanted>"
  Status wrong(const char* field, const std::string& wanted) const;

 private:
  const Json& object_;
  std::string what_;
};

/// A value as it may stand in a message: its JSON, at most 100 bytes.
std::string shown(const Json& value);

}  // namespace mm2
