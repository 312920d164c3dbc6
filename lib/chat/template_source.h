// What a chat_template.jinja says, apart from how it is spelled: enough to recognise the templates
// of the M2 family without running them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace mm2::chat {

/// A template reduced to what decides its output: comments gone, white-space control applied
/// (trim_blocks and lstrip_blocks on), blanks inside tags made equal, and the model's default
/// system sentence taken out.
struct TemplateForm {
  std::string text;      // the reduced form
  std::string identity;  // the literal that stood where model_identity falls back
  bool has_identity = false;
  uint64_t digest = 0;  // of `text`
};

/// Bounded by one pass over `source`. Failures: Code::format, an unterminated tag or string.
Result<TemplateForm> reduce_template(std::string_view source);

}  // namespace mm2::chat
