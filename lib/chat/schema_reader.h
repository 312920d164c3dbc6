// Reads what the codec needs from the JSON schema of a tool: the types each parameter may have.
#pragma once

#include <cstdint>
#include <string_view>

#include "chat/arguments.h"
#include "chat/value.h"

namespace mm2::chat {

/// Never fails: what is malformed, cyclic, unresolvable or over the budget counts as no type. The
/// results point into the values read.
class SchemaReader {
 public:
  /// `parameters` is the schema of all arguments of one tool; may be null.
  ToolSchema read(const Value* parameters);

 private:
  /// The union of all types reachable from `schema` through anyOf, oneOf, allOf and $ref.
  ParameterType type_of(const Value& root, const Value& schema);
  void add_member(const Value& member, ParameterType& type) const;
  void add_own(const Value& schema, ParameterType& type) const;
  void add_name(std::string_view name, ParameterType& type) const;
  /// "#/a/b" inside `root`; nullptr if it leads nowhere.
  const Value* resolve(const Value& root, std::string_view reference);
  /// find() that pays for the members it looks at.
  const Value* member(const Value& object, std::string_view name);
  bool pay(uint64_t steps);

  uint64_t budget_ = 20'000'000;  // members and schemas looked at, for all tools together
};

}  // namespace mm2::chat
