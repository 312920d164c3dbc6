#include "chat/chat_template.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/json.h"
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
    MM2_ASSIGN_OR_RETURN(const Value value, parse_value(request_json, "request"));
    MM2_ASSIGN_OR_RETURN(const ChatRequest request, read_request(value));
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
  if (!form.ok()) return Status(form.status()).in(name);
  for (KnownForm& known : known_forms()) {
    if (known.digest != form->digest || !form->has_identity) continue;
    known.dialect.identity = std::move(form->identity);
    return std::shared_ptr<const ChatTemplate>(
        std::make_shared<NativeTemplate>(std::move(known.dialect), known.name, name));
  }
  return error(
      Code::unsupported, name, ": not a known chat template of the MiniMax-M2 family (form ",
      absl::StrFormat("%016x", form->digest), "), and there is no general Jinja interpreter yet");
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

}  // namespace mm2::chat
