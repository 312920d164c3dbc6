#include "chat/chat_template.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/json.h"
#include "chat/document.h"
#include "chat/jinja/template.h"
#include "chat/template_source.h"

namespace mm2::chat {
namespace {

constexpr uint64_t kMaxTemplateBytes = uint64_t{4} << 20;
constexpr uint64_t kMaxConfigBytes = uint64_t{64} << 20;

// A template of the family, known by its reduced form.
struct KnownForm {
  uint64_t digest;
  const char* name;
  M2Dialect dialect;  // identity is read from the template
};

std::vector<KnownForm> known_forms() {
  using Thinking = M2Dialect::Thinking;
  using LastCall = M2Dialect::LastCall;
  M2Dialect official;
  M2Dialect switchable;
  switchable.thinking = Thinking::open_if_wanted;
  switchable.last_call = LastCall::function_present;
  M2Dialect closing;
  closing.thinking = Thinking::close_if_unwanted;
  closing.date_and_location = false;
  M2Dialect joined;
  joined.newline_before_calls = false;
  joined.arguments_may_be_missing = true;
  M2Dialect tiny;
  tiny.last_call = LastCall::any;
  tiny.prints_any_type = true;
  return {
      {0x813bd41fe7a86b4a, "MiniMax-M2", official},
      {0xb1fb3d521f737a29, "MiniMax-M2 with generation tags", official},
      {0x78513d865152567b, "MiniMax-M2 with enable_thinking (open)", switchable},
      {0x2677723803ec54e9, "MiniMax-M2 with enable_thinking (closed block)", closing},
      {0xc505430ac5f9fc40, "MiniMax-M2 without the newline before calls", joined},
      {0xd4b110a53440982e, "mm2-tiny", tiny},
  };
}

class NativeTemplate final : public ChatTemplate {
 public:
  NativeTemplate(M2Dialect dialect, std::string name, std::string file)
      : dialect_(std::move(dialect)), name_(std::move(name)), file_(std::move(file)) {}

  Result<Prompt> render(std::string_view request_json, const RenderBudget& budget) const override {
    MM2_ASSIGN_OR_RETURN(const Document document, parse_document(request_json, "request"));
    MM2_ASSIGN_OR_RETURN(ChatRequest request, read_request(*document));
    request.size_hint = request_json.size();
    return render_m2(dialect_, request, budget.max_output_bytes);
  }

  std::string describe() const override {
    Json out;
    out["renderer"] = "native";
    out["template"] = name_;
    out["file"] = file_;
    out["identity"] = dialect_.identity;
    out["enable_thinking"] = dialect_.thinking == M2Dialect::Thinking::always ? "ignored"
                             : dialect_.thinking == M2Dialect::Thinking::open_if_wanted
                                 ? "off leaves the turn without <think>"
                                 : "off gives an empty closed block";
    return out.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  M2Dialect dialect_;
  std::string name_;
  std::string file_;
};

constexpr std::string_view kControlTokens[] = {
    "]~!b[", "]~b]", "[e~[", "<minimax:tool_call>", "</minimax:tool_call>", "<think>", "</think>",
};

// Control tokens become markup where the template spelled them; what came in with values, even if
// it reads the same or completes a literal half, stays text.
Prompt prompt_of(const jinja::Rendering& rendering) {
  Prompt prompt;
  const std::string_view text = rendering.text;
  size_t done = 0;
  for (const jinja::Span& span : rendering.literal) {
    for (size_t at = span.begin; at < span.end;) {
      size_t length = 0;
      if (text[at] != '<' && text[at] != ']' && text[at] != '[') {
        ++at;
        continue;
      }
      for (const std::string_view token : kControlTokens) {
        if (text.substr(at, span.end - at).substr(0, token.size()) == token) length = token.size();
      }
      if (length == 0) {
        ++at;
        continue;
      }
      prompt.add_text(text.substr(done, at - done));
      prompt.add_markup(text.substr(at, length));
      at += length;
      done = at;
    }
  }
  prompt.add_text(text.substr(done));
  return prompt;
}

jinja::Limits limits_of(const RenderBudget& budget) {
  jinja::Limits limits;
  limits.max_steps = budget.max_steps;
  limits.max_depth = budget.max_depth;
  limits.max_memory_bytes = budget.max_memory_bytes;
  limits.max_output_bytes = budget.max_output_bytes;
  return limits;
}

jinja::Clock clock_of(const std::optional<jinja::DateTime>& now) {
  if (!now) return {};
  return [time = *now] { return time; };
}

class InterpretedTemplate final : public ChatTemplate {
 public:
  InterpretedTemplate(std::shared_ptr<const jinja::Program> program, std::string file)
      : program_(std::move(program)), file_(std::move(file)) {}

  Result<Prompt> render(std::string_view request_json, const RenderBudget& budget) const override {
    MM2_ASSIGN_OR_RETURN(const Document document, parse_document(request_json, "request"));
    MM2_ASSIGN_OR_RETURN(ChatRequest request, read_request(*document));
    request.size_hint = request_json.size();
    std::vector<std::string_view> keys;
    std::vector<Value> items;
    if (request.kwargs != nullptr) {
      keys.assign(request.kwargs->keys.begin(), request.kwargs->keys.end());
      items.assign(request.kwargs->items.begin(), request.kwargs->items.end());
    }
    const auto put = [&](const char* name, const Value& member) {
      keys.emplace_back(name);
      items.push_back(member);
    };
    put("messages", *request.messages);
    if (request.tools != nullptr) put("tools", *request.tools);
    Value wanted;
    wanted.kind = Value::Kind::boolean;
    wanted.flag = request.add_generation_prompt;
    put("add_generation_prompt", wanted);
    Value context;
    context.kind = Value::Kind::object;
    context.items = items;
    context.keys = keys;
    MM2_ASSIGN_OR_RETURN(
        const jinja::Rendering out,
        jinja::render(*program_, context, limits_of(budget), clock_of(request.now)));
    return prompt_of(out);
  }

  std::string describe() const override {
    Json out;
    out["renderer"] = "interpreter";
    out["file"] = file_;
    return out.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  std::shared_ptr<const jinja::Program> program_;
  std::string file_;
};

// "chat_template" of a configuration file: a string, or [{"name": .., "template": ..}].
Result<std::string> template_in_config(const std::string& file, const std::string& text) {
  JsonLimits limits;
  limits.duplicate_keys = true;
  MM2_ASSIGN_OR_RETURN(const Json config, parse_json(text, file, limits));
  if (config.is_object() && config.contains("chat_template")) {
    const Json& found = config["chat_template"];
    if (found.is_string()) return found.get<std::string>();
    for (const Json& entry : found.is_array() ? found : Json::array()) {
      if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) continue;
      if (entry["name"] == "default" && entry["template"].is_string()) {
        return entry["template"].get<std::string>();
      }
    }
    if (!found.is_null()) {
      return error(Code::format, file,
                   ": chat_template is neither a string nor a list with one named \"default\"");
    }
  }
  return error(Code::not_found, file, ": no chat_template");
}

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source,
                                                                const std::string& name) {
  auto form = reduce_template(source);
  for (KnownForm& known : known_forms()) {
    if (!form.ok()) break;  // the interpreter has the say on what is wrong with it
    if (known.digest != form->digest || !form->has_identity) continue;
    known.dialect.identity = std::move(form->identity);
    return std::shared_ptr<const ChatTemplate>(
        std::make_shared<NativeTemplate>(std::move(known.dialect), known.name, name));
  }
  auto program = jinja::parse_program(source);
  if (!program.ok()) return Status(program.status()).in(name);
  return std::shared_ptr<const ChatTemplate>(
      std::make_shared<InterpretedTemplate>(*std::move(program), name));
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::load(const std::string& path,
                                                               const Host& host) {
  if (absl::EndsWith(path, ".jinja")) {
    MM2_ASSIGN_OR_RETURN(const std::string source, read_all(*host.source, path, kMaxTemplateBytes));
    return parse(source, path);
  }
  const std::string jinja = path + "/chat_template.jinja";
  auto source = read_all(*host.source, jinja, kMaxTemplateBytes);
  if (source.ok()) return parse(*source, jinja);
  if (source.status().code() != Code::not_found) return source.status();
  for (const char* name : {"/tokenizer_config.json", "/chat_template.json"}) {
    const std::string file = path + name;
    auto text = read_all(*host.source, file, kMaxConfigBytes);
    if (!text.ok() && text.status().code() == Code::not_found) continue;
    if (!text.ok()) return text.status();
    auto found = template_in_config(file, *text);
    if (found.ok()) return parse(*found, file);
    if (found.status().code() != Code::not_found) return found.status();
  }
  return error(Code::not_found, path,
               ": no chat template: neither chat_template.jinja nor a chat_template in "
               "tokenizer_config.json or chat_template.json");
}

Result<std::string> run_template(std::string_view source, std::string_view context_json,
                                 std::optional<jinja::DateTime> now, const RenderBudget& budget,
                                 jinja::Failure* failure) {
  MM2_ASSIGN_OR_RETURN(const Document context, parse_document(context_json, "context"));
  if (!context->is_object()) return error(Code::invalid_argument, "context: an object is needed");
  const auto program = jinja::parse_program(source);
  if (!program.ok()) {
    *failure = jinja::failure_of(program.status(), false);
    return program.status();
  }
  bool raised = false;
  auto out = jinja::render(**program, *context, limits_of(budget), clock_of(now), &raised);
  if (out.ok()) return std::move(out->text);
  *failure = jinja::failure_of(out.status(), raised);
  return out.status();
}

}  // namespace mm2::chat
