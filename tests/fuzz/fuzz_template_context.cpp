// Requests for known templates. The first byte picks the template and how the rest is read: as the
// JSON of a request, or as decisions from which a request is made. The native renderer and the
// interpreter give the same text and the same control tokens, or both give none.
#include <array>
#include <fstream>
#include <iterator>

#include "chat/chat_template.h"
#include "fuzz/input.h"
#include "fuzz/property.h"

using namespace mm2;
using namespace mm2::chat;
using fuzz::require;

namespace {

constexpr const char* kKeys[] = {"messages",
                                 "role",
                                 "content",
                                 "reasoning_content",
                                 "tool_calls",
                                 "function",
                                 "name",
                                 "arguments",
                                 "type",
                                 "text",
                                 "tools",
                                 "parameters",
                                 "output",
                                 "kwargs",
                                 "a",
                                 "b",
                                 "id",
                                 "current_date",
                                 "current_location"};
constexpr const char* kStrings[] = {"user",
                                    "assistant",
                                    "system",
                                    "tool",
                                    "text",
                                    "function",
                                    "",
                                    "plain words",
                                    "<think>x</think>y",
                                    "</think>",
                                    "<minimax:tool_call>",
                                    "]~b]ai\\n",
                                    "[e~[",
                                    "\\n\\nline\\n",
                                    "f",
                                    "it's \\\"so\\\""};

struct Pair {
  std::shared_ptr<const ChatTemplate> native, interpreted;
};

Pair load(const char* name) {
  std::ifstream in(std::string(MM2_TEST_DATA "/chat/templates/") + name + ".jinja",
                   std::ios::binary);
  const std::string source(std::istreambuf_iterator<char>(in), {});
  require(!source.empty(), "the template is there", name);
  const auto native = ChatTemplate::parse(source, name);
  // The addition prints nothing and keeps the template from being recognised.
  const auto interpreted = ChatTemplate::parse(source + "{{ '' }}", name);
  require(native.ok() && interpreted.ok(), "the template parses", name);
  require((*native)->describe().find("native") != std::string::npos, "it is recognised", name);
  return {*native, *interpreted};
}

const std::array<Pair, 5>& templates() {
  static const std::array<Pair, 5> all = {
      load("minimax_m2.7_official_reconstructed"),
      load("llamacpp_fork_anemll_MiniMax-M2_enable_thinking"),
      load("vmlx_minimaxM2Minimal_enable_thinking"),
      load("llamacpp_fork_pwilkin_MiniMax-M2"),
      load("modelopt_MiniMax-M2.7_train_generation_tags"),
  };
  return all;
}

void append_text(fuzz::Input& in, std::string& out) {
  const fuzz::Words words{kKeys, kStrings};
  if (in.byte() < 200) return fuzz::append_string(in, words.strings, out);
  fuzz::append_json(in, words, 3, out);
}

void append_call(fuzz::Input& in, std::string& out) {
  const fuzz::Words words{kKeys, kStrings};
  std::string inner = "\"name\": ";
  append_text(in, inner);
  inner += ", \"arguments\": {";
  for (size_t n = in.below(4), i = 0; i < n; ++i) {
    if (i > 0) inner += ", ";
    fuzz::append_string(in, words.keys, inner);
    inner += ": ";
    fuzz::append_json(in, words, 3, inner);
  }
  inner += "}";
  out += in.below(3) ? "{\"function\": {" + inner + "}}" : "{" + inner + "}";
}

// A conversation that mostly means something.
std::string made_request(fuzz::Input& in) {
  static constexpr const char* kRoles[] = {"user",   "assistant", "tool",
                                           "system", "assistant", "tool"};
  const fuzz::Words words{kKeys, kStrings};
  std::string out = "{\"messages\": [";
  for (size_t n = in.below(9), i = 0; i < n && !in.done(); ++i) {
    if (i > 0) out += ", ";
    if (in.byte() > 240) {
      fuzz::append_json(in, words, 3, out);
      continue;
    }
    const char* role = kRoles[in.below(std::size(kRoles))];
    out += std::string("{\"role\": \"") + role + "\"";
    const uint8_t parts = in.byte();
    if (parts & 1) append_text(in, out += ", \"content\": ");
    if (parts & 2) append_text(in, out += ", \"reasoning_content\": ");
    if (parts & 4) {
      out += ", \"tool_calls\": [";
      append_call(in, out);
      if (parts & 8) append_call(in, out += ", ");
      out += "]";
    }
    if (parts & 16) append_text(in, out += ", \"current_date\": ");
    out += "}";
  }
  out += "]";
  const uint8_t parts = in.byte();
  if (parts & 1) out += ", \"add_generation_prompt\": true";
  if (parts & 2) {
    out += ", \"tools\": [{\"type\": \"function\", \"function\": ";
    fuzz::append_json(in, words, 4, out);
    out += "}]";
  }
  if (parts & 4) {
    append_text(in, out += ", \"kwargs\": {\"model_identity\": ");
    out += parts & 8 ? ", \"enable_thinking\": false}" : "}";
  }
  return out + "}";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input in(data, size);
  const uint8_t how = in.byte();
  const Pair& pair = templates()[how / 2 % templates().size()];
  const std::string request = how & 1 ? made_request(in) : std::string(in.rest());
  RenderBudget budget;
  budget.max_output_bytes = 1 << 20;
  const auto native = pair.native->render(request, budget);
  const auto interpreted = pair.interpreted->render(request, budget);
  for (const auto* answer : {&native, &interpreted}) {
    if (answer->ok()) continue;
    fuzz::require_told(answer->status(), {Code::format, Code::invalid_argument, Code::budget});
  }
  if (!interpreted.ok() && interpreted.status().code() == Code::budget) return 0;
  require(native.ok() == interpreted.ok(), "both renderers give a text, or neither",
          request + "\n" + std::string((native.ok() ? interpreted : native).status().message()));
  if (!native.ok()) return 0;
  require(native->text == interpreted->text, "both renderers give the same text",
          request + "\n" + native->text + "\n" + interpreted->text);
  require(native->segments.size() == interpreted->segments.size(), "both mark the same tokens",
          request);
  for (size_t i = 0; i < native->segments.size(); ++i) {
    const Segment &a = native->segments[i], &b = interpreted->segments[i];
    require(a.begin == b.begin && a.end == b.end && a.is_markup == b.is_markup,
            "both mark the same tokens", request);
  }
  return 0;
}
