// Templates of any model, run by an interpreter: the language of Jinja2 as transformers sets it up.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "chat/jinja/run.h"

namespace mm2::chat::jinja {

struct Rendering {
  std::string text;
  std::vector<Span> literal;  // bytes the template itself wrote, as text or in string literals
};

/// What went wrong, in Jinja2's terms.
struct Failure {
  std::string kind;     // Jinja2's or Python's class; empty for what is neither: a budget
  std::string message;  // without the class
  uint32_t line = 0;    // of the template; 0: not known
};

/// Reads it off a status of parse_program or render; `raised` as render() said.
Failure failure_of(const Status& status, bool raised);

/// Runs a program over the members of `context` (an object). Errors: Code::invalid_argument with
/// Jinja2's or Python's class in front ("UndefinedError: 'x' is undefined"), except for
/// raise_exception, which gives exactly its message and sets *raised; Code::budget when a limit is
/// reached. Without a clock there is no strftime_now. Any number of threads may run one program.
Result<Rendering> render(const Program& program, const Value& context, const Limits& limits,
                         const Clock& clock, bool* raised = nullptr);

}  // namespace mm2::chat::jinja
