// A tool call on its way out: parameters as they come in, one JSON object in fragments as it goes
// out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "chat/arguments.h"
#include "chat/events.h"

namespace mm2::chat {

class CallWriter {
 public:
  explicit CallWriter(std::shared_ptr<const ToolSchemas> tools) : tools_(std::move(tools)) {}

  void begin(std::string_view name, EventQueue& events);
  void end(EventQueue& events);

  /// Whether `name` is a declared parameter of this tool that was not given yet (V3).
  bool expects(const std::string& name) const;

  void begin_value(std::string_view name, EventQueue& events);
  /// Whole characters, as far as they are well-formed.
  void add(std::string_view bytes, EventQueue& events);
  /// `drop_blanks`: without the whitespace at the end of the value (V2, V3).
  void end_value(bool drop_blanks, EventQueue& events);

 private:
  enum class Sink {
    ignored,  // given before: the first value stays (D1)
    stream,   // certainly a string
    watched,  // a string unless it turns out to be null, a number or a boolean
    whole     // converted when it is complete
  };

  void open_member(EventQueue& events);
  void add_string(std::string_view bytes, EventQueue& events);
  void fragment(std::string_view text, EventQueue& events) {
    events.add(EventKind::call_arguments, index_, text);
  }

  std::shared_ptr<const ToolSchemas> tools_;
  ParameterType untyped_;  // of the parameters of unknown tools
  const ToolSchema* tool_ = nullptr;
  int32_t index_ = -1;
  bool has_members_ = false;
  absl::flat_hash_set<std::string> given_;

  Sink sink_ = Sink::ignored;
  const ParameterType* type_ = nullptr;
  std::optional<ScalarWatch> watch_;
  std::string name_;
  std::string value_;   // whole and watched: what came
  std::string blanks_;  // stream: whitespace that is dropped if the value ends unclosed
  size_t run_ = 0;      // stream: whitespace bytes since the last other byte
};

}  // namespace mm2::chat
