// Typed reading of the fields that quantisation configurations share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "quant/layer_rules.h"

namespace mm2 {

constexpr size_t kShown = 100;  // bytes of a file's text in a message, at most

/// A value as it may stand in a message.
std::string spelled(const Json& value);

/// The members of one JSON object; `what` is its file and field.
struct QuantFields {
  const Json& object;
  std::string what;

  /// nullptr when absent or null.
  const Json* find(const char* field) const;
  /// Leave `to` alone where the field is absent.
  Status text(const char* field, std::string& to) const;
  Status boolean(const char* field, std::optional<bool>& to) const;
};

/// group_size, sym, desc_act, and the width of codes under the name `bits_field`.
Status read_words(const QuantFields& fields, const char* bits_field, QuantWords& words);

/// [rows, columns] of a block, or "128x128".
Status read_blocks(const QuantFields& fields, const char* field, QuantWords& words);

}  // namespace mm2
