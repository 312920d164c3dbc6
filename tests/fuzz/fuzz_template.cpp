// The whole input is a template, run over one conversation with small budgets.
#include "chat/chat_template.h"
#include "fuzz/property.h"
#include "text/utf8.h"

using namespace mm2;
using namespace mm2::chat;
using fuzz::require;

namespace {

constexpr std::string_view kMembers = R"("messages": [
  {"role": "system", "content": "Be brief."}, {"role": "user", "content": "]~b]user \u00e9"},
  {"role": "assistant", "reasoning_content": "hm", "content": null, "tool_calls": [
    {"type": "function", "function": {"name": "f", "arguments": {"a": [1, 2.5], "b": "<x>"}}}]},
  {"role": "tool", "content": [{"type": "text", "text": "42"}]}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
  "add_generation_prompt": true)";

RenderBudget small_budget() {
  RenderBudget budget;
  budget.max_steps = 30000;
  budget.max_output_bytes = 1 << 18;
  budget.max_memory_bytes = 4 << 20;
  return budget;
}

void check_prompt(const Prompt& prompt) {
  size_t at = 0;
  for (const Segment& s : prompt.segments) {
    require(s.begin == at && s.end > s.begin, "segments tile the prompt");
    at = s.end;
  }
  require(at == prompt.text.size(), "segments end with the prompt");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const RenderBudget budget = small_budget();
  const std::string object = "{" + std::string(kMembers) + "}";
  const std::optional<jinja::DateTime> now = jinja::DateTime{2026, 1, 2, 3, 4, 5};
  jinja::Failure failure;
  const auto out = run_template(source, object, now, budget, &failure);
  if (out.ok()) {
    require(out->size() <= budget.max_output_bytes, "no more text than was allowed");
    if (utf8::valid_prefix(source) == source.size()) {
      jinja::Failure again;
      const auto second = run_template(source, object, now, budget, &again);
      require(second.ok() && *second == *out, "the same again");
    }
  } else {
    fuzz::require_told(out.status(), {Code::format, Code::invalid_argument, Code::budget});
    require(out.status().code() == Code::budget || !failure.kind.empty(),
            "a template that fails has a class of Jinja2's", out.status().message());
  }
  const auto chat = ChatTemplate::parse(source, "t");
  require(chat.ok() || !out.ok(), "what runs can be loaded", chat.status().message());
  if (!chat.ok()) {
    require(chat.status().code() == Code::format || chat.status().code() == Code::budget,
            "a template that cannot be read is a format error", chat.status().message());
    return 0;
  }
  const auto prompt = (*chat)->render(object, budget);
  if (prompt.ok()) check_prompt(*prompt);
  return 0;
}
