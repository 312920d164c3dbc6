// The chat template of a checkpoint: found in its folder, recognised, rendered.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/host.h"
#include "base/status.h"
#include "chat/jinja/date_time.h"
#include "chat/prompt.h"
#include "chat/renderer.h"

namespace mm2::chat {

/// What one rendering may cost.
struct RenderBudget {
  uint64_t max_output_bytes = uint64_t{256} << 20;
  // Of interpreted templates only; the native renderer does bounded work per message.
  uint64_t max_steps = 4'000'000;
  uint32_t max_depth = 450;
  uint64_t max_memory_bytes = uint64_t{256} << 20;
  /// Local time for strftime_now; without it templates find the name undefined.
  std::function<jinja::DateTime()> clock;
};

/// Something that turns requests into prompts. Immutable; any number of threads may render at once.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  /// `path` is a .jinja file or a folder. In a folder the template is, in this order,
  /// chat_template.jinja, "chat_template" of tokenizer_config.json (of several named ones that
  /// named "default"), "chat_template" of chat_template.json. Failures: not_found when the folder
  /// has none (there is no silent default: a wrong template is worse than none); format (a template
  /// that does not parse, with Jinja2's class) and io of the files themselves.
  static Result<std::shared_ptr<const ChatTemplate>> load(const std::string& path,
                                                          const Host& host);
  /// A template given as text; `name` is what messages call it.
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source,
                                                           const std::string& name);

  /// `request_json`: {"messages": [..], "tools": [..], "add_generation_prompt": bool,
  /// "kwargs": {..}}.
  /// Failures: format (not JSON), invalid_argument (the request does not fit, or the template
  /// raised: then with exactly its message), budget.
  virtual Result<Prompt> render(std::string_view request_json,
                                const RenderBudget& budget = {}) const = 0;

  /// Which renderer runs and why, as one JSON object: {"renderer": "native", "template", "file",
  /// "identity", "enable_thinking"}, or {"renderer": "interpreter", "file"} for a template that is
  /// not recognised.
  virtual std::string describe() const = 0;
};

}  // namespace mm2::chat
