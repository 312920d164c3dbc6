// The chat template of a checkpoint: found in its folder, recognised, rendered.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/host.h"
#include "base/status.h"
#include "chat/jinja/date_time.h"
#include "chat/jinja/template.h"
#include "chat/prompt.h"
#include "chat/renderer.h"

namespace mm2::chat {

/// What one rendering may cost.
struct RenderBudget {
  uint64_t max_output_bytes = uint64_t{256} << 20;
  // Of interpreted templates only; the native renderer does bounded work per message.
  uint64_t max_steps = 2'000'000;
  uint32_t max_depth = 200;                        // takes less than 128 KiB of stack
  uint64_t max_memory_bytes = uint64_t{60} << 20;  // 64 with what allocators add
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

  /// `request_json`: see read_request. "now" is what strftime_now of interpreted templates tells;
  /// without it they find that name undefined.
  /// Failures: format (not JSON), invalid_argument (the request does not fit, or the template
  /// raised: then with exactly its message), budget.
  virtual Result<Prompt> render(std::string_view request_json,
                                const RenderBudget& budget = {}) const = 0;

  /// Which renderer runs and why, as one JSON object: {"renderer": "native", "template", "file",
  /// "identity", "enable_thinking"}, or {"renderer": "interpreter", "file"} for a template that is
  /// not recognised.
  virtual std::string describe() const = 0;
};

/// Runs any template over the members of `context_json`, always in the interpreter. `now` is what
/// strftime_now tells. When the template is wrong (Code::format) or fails (Code::invalid_argument)
/// *failure says so in Jinja2's terms; where its kind stays empty it is something else: a budget,
/// broken JSON.
Result<std::string> run_template(std::string_view source, std::string_view context_json,
                                 std::optional<jinja::DateTime> now, const RenderBudget& budget,
                                 jinja::Failure* failure);

}  // namespace mm2::chat
