// Templates of any model, run by an interpreter: the language of Jinja2 as transformers sets it up.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "chat/jinja/run.h"

namespace mm2::chat::jinja {

struct Rendering {
  std::string text;
  Spans literal;  // bytes the template itself wrote, as text or in string literals
};

/// Runs a program over the members of `context` (an object). Errors: Code::invalid_argument with
/// Jinja2's or Python's class in front ("UndefinedError: 'x' is undefined"), except for
/// raise_exception, which gives exactly its message; Code::budget when a limit is reached.
/// Without a clock there is no strftime_now. Any number of threads may run one program.
inline Result<Rendering> render(const Program& program, const Value& context, const Limits& limits,
                                const Clock& clock) {
  Run run(program, limits, clock);
  MM2_ASSIGN_OR_RETURN(Captured out, run.render(context));
  return Rendering{std::move(out.text), std::move(out.literal)};
}

}  // namespace mm2::chat::jinja
