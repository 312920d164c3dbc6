// Strict JSON: RFC 8259, valid UTF-8, no duplicate keys, bounded depth, no exceptions. Key order is
// kept.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace mm2 {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  int max_depth = 64;
  bool duplicate_keys = false;  // true: the last one wins, as most parsers have it
};

/// `what` names the text in messages: a file, or "messages". Failures are Code::format with line,
/// column and what was found there.
Result<Json> parse_json(std::string_view text, const std::string& what, JsonLimits limits = {});

}  // namespace mm2
