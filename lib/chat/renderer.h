// The chat template of the MiniMax-M2 family as code. Byte-equal to Jinja2 on the family's
// templates; how they differ from each other is data (M2Dialect).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "chat/jinja/date_time.h"
#include "chat/prompt.h"
#include "chat/value.h"

namespace mm2::chat {

/// What differs between the templates of the family.
struct M2Dialect {
  enum class Thinking {
    always,            // enable_thinking is not looked at: the official templates
    open_if_wanted,    // when off, no <think> after the turn header and none in the history
    close_if_unwanted  // when off, an empty closed block follows the turn header
  };
  /// What a `messages[i]` with a wrapped tool call must look like for a tool result to follow it.
  enum class LastCall { name_not_null, function_present, any };

  std::string identity;  // the system sentence when neither request nor kwargs give one
  Thinking thinking = Thinking::always;
  LastCall last_call = LastCall::name_not_null;
  bool date_and_location = true;     // of the system message, as lines of the system turn
  bool newline_before_calls = true;  // before <minimax:tool_call>
  bool arguments_may_be_missing = false;
  bool prints_any_type = false;  // names and dates that are not strings are printed, not refused
};

/// A request, checked for the types of its own fields; pointers into the parsed JSON.
struct ChatRequest {
  const Value* messages = nullptr;  // an array
  const Value* tools = nullptr;     // null: none
  const Value* kwargs = nullptr;    // null or an object
  std::optional<jinja::DateTime> now;
  bool add_generation_prompt = false;
  size_t size_hint = 0;  // about the size of the text to be made

  const Value* kwarg(std::string_view name) const { return kwargs ? kwargs->find(name) : nullptr; }
};

/// Reads {"messages": [..], "tools": [..], "add_generation_prompt": bool, "kwargs": {..}, "now":
/// "2026-01-02T03:04:05"}; other members are ignored. kwargs may not be named like the members of the request. The result points
/// into `request`. Failures: Code::invalid_argument naming the field.
Result<ChatRequest> read_request(const Value& request);

/// The prompt. Failures: Code::invalid_argument naming the message and field; what the template
/// itself would raise has exactly its message. At most `max_output_bytes`, else Code::budget.
Result<Prompt> render_m2(const M2Dialect& dialect, const ChatRequest& request,
                         uint64_t max_output_bytes);

}  // namespace mm2::chat
