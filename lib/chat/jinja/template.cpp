#include "chat/jinja/template.h"

#include <utility>

#include "absl/strings/numbers.h"

namespace mm2::chat::jinja {

Failure failure_of(const Status& status, bool raised) {
  Failure failure;
  failure.message = status.message();
  if (raised) {
    failure.kind = "TemplateError";
    return failure;
  }
  if (status.code() == Code::budget) return failure;
  std::string& text = failure.message;
  if (const size_t colon = text.find(": "); colon != std::string::npos) {
    failure.kind = text.substr(0, colon);
    text.erase(0, colon + 2);
  }
  // The parser's sentences end in " (line 7)".
  constexpr std::string_view kLine = " (line ";
  const size_t at = text.rfind(kLine);
  if (at != std::string::npos && text.back() == ')' &&
      absl::SimpleAtoi(text.substr(at + kLine.size(), text.size() - at - kLine.size() - 1),
                       &failure.line)) {
    text.erase(at);
  }
  return failure;
}

Result<Rendering> render(const Program& program, const Value& context, const Limits& limits,
                         const Clock& clock, bool* raised) {
  Run run(program, limits, clock);
  Rendering out;
  const Status status = run.render(context, &out.text, &out.literal);
  if (raised != nullptr) *raised = run.raised();
  if (!status.ok()) return status;
  return out;
}

}  // namespace mm2::chat::jinja
