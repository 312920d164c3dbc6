#include "chat/renderer.h"

#include <algorithm>
#include <span>

#include "absl/strings/str_cat.h"

namespace mm2::chat {
namespace {

constexpr std::string_view kBeginText = "]~!b[";
constexpr std::string_view kTurn = "]~b]";
constexpr std::string_view kEndOfTurn = "[e~[";
constexpr std::string_view kThink = "<think>";
constexpr std::string_view kThinkEnd = "</think>";
constexpr std::string_view kCalls = "<minimax:tool_call>";
constexpr std::string_view kCallsEnd = "</minimax:tool_call>";

// obj.name as Jinja reads it; nullptr is its `undefined`.
const Value* field(const Value& object, std::string_view name) {
  return object.is_object() ? object.find(name) : nullptr;
}
bool truthy(const Value* value) {
  return value != nullptr && value->truthy();
}
bool equals(const Value* value, std::string_view text) {
  return value != nullptr && value->is_string() && value->text == text;
}
bool has_role(const Value& message, std::string_view role) {
  return equals(field(message, "role"), role);
}

const char* kind_name(const Value* value) {
  if (value == nullptr) return "nothing";
  switch (value->kind) {
    case Value::Kind::null:
      return "null";
    case Value::Kind::boolean:
      return "a boolean";
    case Value::Kind::integer:
      return "an integer";
    case Value::Kind::real:
      return "a number";
    case Value::Kind::string:
      return "a string";
    case Value::Kind::array:
      return "an array";
    case Value::Kind::object:
      return "an object";
  }
  return "nothing";
}

Status wrong_type(const std::string& where, std::string_view wanted, const Value* found) {
  return error(Code::invalid_argument, where, ": ", std::string(wanted), " is needed, found ",
               kind_name(found));
}

std::string_view strip_newlines(std::string_view text) {
  while (!text.empty() && text.front() == '\n') text.remove_prefix(1);
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return text;
}

void append_visible(std::string& out, const Value* content) {
  if (content == nullptr) return;
  if (!content->is_array()) return append_str(out, *content);
  for (const Value& item : content->items) {
    if (equals(field(item, "type"), "text")) {
      if (const Value* text = field(item, "text")) append_str(out, *text);
    } else if (item.is_string()) {
      out += item.text;
    }
  }
}

// The same as a view of the content itself where it can be, else of *buffer.
std::string_view visible_text(const Value* content, std::string* buffer) {
  if (content != nullptr && content->is_string()) return content->text;
  buffer->clear();
  append_visible(*buffer, content);
  return *buffer;
}

class Renderer {
 public:
  Renderer(const M2Dialect& dialect, const ChatRequest& request, uint64_t max_output_bytes)
      : dialect_(dialect), request_(request), limit_(max_output_bytes) {}

  Result<Prompt> run() {
    out_.text.reserve(std::min<uint64_t>(request_.size_hint + 4096, limit_));
    out_.segments.reserve(8 * request_.messages->items.size() + 16);
    const std::span<const Value> messages = request_.messages->items;
    const bool has_system = !messages.empty() && has_role(messages[0], "system");
    first_ = has_system ? 1 : 0;
    for (size_t i = first_; i < messages.size(); ++i) {
      if (has_role(messages[i], "user")) last_user_ = static_cast<int64_t>(i);
    }
    const Value* wanted = request_.kwarg("enable_thinking");
    thinks_ =
        dialect_.thinking == M2Dialect::Thinking::always || wanted == nullptr || wanted->truthy();

    MM2_RETURN_IF_ERROR(system_turn(has_system ? &messages[0] : nullptr));
    for (size_t i = first_; i < messages.size(); ++i) {
      if (has_role(messages[i], "assistant")) {
        MM2_RETURN_IF_ERROR(assistant_turn(i));
      } else if (has_role(messages[i], "tool")) {
        MM2_RETURN_IF_ERROR(tool_result(i));
      } else if (has_role(messages[i], "user")) {
        open_turn("user\n");
        append_visible(out_.open_text(), field(messages[i], "content"));
        close_turn();
      }
      MM2_RETURN_IF_ERROR(within_budget());
    }
    if (request_.add_generation_prompt) generation_prompt();
    out_.close();
    return std::move(out_);
  }

 private:
  void open_turn(std::string_view role_and_newline) {
    out_.add_markup(kTurn);
    write(role_and_newline);
  }
  void close_turn() {
    out_.add_markup(kEndOfTurn);
    write("\n");
  }
  void write(std::string_view text) { out_.open_text() += text; }
  Status within_budget() const {
    if (out_.text.size() <= limit_) return {};
    return error(Code::budget, "rendering the prompt: more than ", limit_, " bytes");
  }

  Status system_turn(const Value* system) {
    out_.add_markup(kBeginText);
    open_turn("system\n");
    const Value* content = system ? field(*system, "content") : nullptr;
    const Value* identity = request_.kwarg("model_identity");
    if (truthy(content)) {
      append_visible(out_.open_text(), content);
    } else if (identity != nullptr) {
      append_str(out_.open_text(), *identity);
    } else {
      write(dialect_.identity);
    }
    if (system != nullptr && dialect_.date_and_location) {
      MM2_RETURN_IF_ERROR(system_line("Current date: ", "current_date", *system));
      MM2_RETURN_IF_ERROR(system_line("Current location: ", "current_location", *system));
    }
    MM2_RETURN_IF_ERROR(tools());
    close_turn();
    return within_budget();
  }

  Status system_line(std::string_view label, std::string_view name, const Value& system) {
    const Value* value = field(system, name);
    if (!truthy(value)) return {};
    write("\n");
    write(label);
    return name_text([&] { return "messages[0]." + std::string(name); }, value);
  }

  // A string, or whatever it is in dialects that join anything.
  template <typename Where>
  Status name_text(const Where& where, const Value* value) {
    if (!dialect_.prints_any_type && (value == nullptr || !value->is_string())) {
      return wrong_type(where(), "a string", value);
    }
    if (value != nullptr) append_str(out_.open_text(), *value);
    return {};
  }

  Status tools() {
    if (!truthy(request_.tools)) return {};
    write(
        "\n\n# Tools\nYou may call one or more tools to assist with the user query.\n"
        "Here are the tools available in JSONSchema format:\n\n<tools>\n");
    for (size_t i = 0; i < request_.tools->items.size(); ++i) {
      const Value* function = field(request_.tools->items[i], "function");
      if (function == nullptr) {
        return error(Code::invalid_argument, "tools[", i,
                     "].function: missing; a tool is {\"type\": \"function\", \"function\": {..}}");
      }
      write("<tool>");
      append_json(out_.open_text(), *function);
      write("</tool>\n");
      MM2_RETURN_IF_ERROR(within_budget());
    }
    write(
        "</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass "
        "parameters:\n\n");
    out_.add_markup(kCalls);
    write(
        "\n<invoke name=\"tool-name-1\">\n"
        "<parameter name=\"param-key-1\">param-value-1</parameter>\n"
        "<parameter name=\"param-key-2\">param-value-2</parameter>\n"
        "...\n</invoke>\n");
    out_.add_markup(kCallsEnd);
    return {};
  }

  Status assistant_turn(size_t i) {
    const Value& message = request_.messages->items[i];
    open_turn("ai\n");
    std::string_view content = visible_text(field(message, "content"), &buffer_);
    std::string_view reasoning;
    const Value* given = field(message, "reasoning_content");
    if (given != nullptr && given->is_string()) {
      reasoning = given->text;
    } else if (content.find(kThinkEnd) != std::string_view::npos) {
      reasoning = strip_newlines(content.substr(0, content.find(kThinkEnd)));
      if (const size_t open = reasoning.rfind(kThink); open != std::string_view::npos) {
        reasoning = reasoning.substr(open + kThink.size());
      }
      reasoning = strip_newlines(reasoning);
      content = strip_newlines(content.substr(content.rfind(kThinkEnd) + kThinkEnd.size()));
    }
    const bool shows = static_cast<int64_t>(i) > last_user_ &&
                       (thinks_ || dialect_.thinking != M2Dialect::Thinking::open_if_wanted);
    if (!reasoning.empty() && shows) {
      out_.add_markup(kThink);
      write("\n");
      write(reasoning);
      write("\n");
      out_.add_markup(kThinkEnd);
      write("\n\n");
    }
    write(content);
    MM2_RETURN_IF_ERROR(calls(i, field(message, "tool_calls")));
    close_turn();
    return {};
  }

  Status calls(size_t i, const Value* list) {
    called_ = truthy(list);
    if (!called_) return {};
    const auto where = [i] { return absl::StrCat("messages[", i, "].tool_calls"); };
    if (!list->is_array()) return wrong_type(where(), "an array", list);
    if (dialect_.newline_before_calls) write("\n");
    out_.add_markup(kCalls);
    write("\n");
    for (size_t c = 0; c < list->items.size(); ++c) {
      const Value* wrapped = field(list->items[c], "function");
      MM2_RETURN_IF_ERROR(call([&] { return absl::StrCat(where(), "[", c, "]"); },
                               truthy(wrapped) ? *wrapped : list->items[c]));
      MM2_RETURN_IF_ERROR(within_budget());
    }
    out_.add_markup(kCallsEnd);

    const Value& last = list->items.back();
    if (dialect_.last_call == M2Dialect::LastCall::name_not_null) {
      const Value* name = field(last, "name");
      called_ = name == nullptr || !name->is_null();
    } else if (dialect_.last_call == M2Dialect::LastCall::function_present) {
      const Value* function = field(last, "function");
      if (function == nullptr) {
        return error(Code::invalid_argument, where(), "[", list->items.size() - 1,
                     "].function: missing; this template needs calls wrapped in it");
      }
      const Value* name = field(*function, "name");
      called_ = name == nullptr || !name->is_null();
    }
    return {};
  }

  // `where()` names the call in messages.
  template <typename Where>
  Status call(const Where& where, const Value& call) {
    write("<invoke name=\"");
    MM2_RETURN_IF_ERROR(name_text([&] { return where() + ".name"; }, field(call, "name")));
    write("\">\n");
    const Value* arguments = field(call, "arguments");
    if (arguments != nullptr && arguments->is_string()) {
      return error(Code::invalid_argument, where(),
                   ".arguments: an object is needed, found a string; JSON text of an OpenAI client "
                   "has to be parsed first");
    }
    const bool absent = arguments == nullptr && dialect_.arguments_may_be_missing;
    if (!absent && (arguments == nullptr || !arguments->is_object())) {
      return wrong_type(where() + ".arguments", "an object", arguments);
    }
    for (size_t k = 0; !absent && k < arguments->items.size(); ++k) {
      const Value& value = arguments->items[k];
      write("<parameter name=\"");
      write(arguments->keys[k]);
      write("\">");
      if (value.is_string()) {
        write(value.text);
      } else {
        append_json(out_.open_text(), value);
      }
      write("</parameter>\n");
    }
    write("</invoke>\n");
    return {};
  }

  Status tool_result(size_t i) {
    const std::span<const Value> messages = request_.messages->items;
    if (!called_) {
      return error(Code::invalid_argument,
                   "Message has tool role, but there was no previous assistant message with a tool "
                   "call!");
    }
    if (i == first_ || !has_role(messages[i - 1], "tool")) {
      out_.add_markup(kTurn);
      write("tool");
    }
    const Value* content = field(messages[i], "content");
    if (content != nullptr && content->is_string()) {
      write("\n<response>");
      write(content->text);
      write("</response>");
    } else if (content != nullptr && content->is_array()) {
      for (const Value& item : content->items) list_response(&item, {});
    } else if (content != nullptr && content->is_object()) {
      for (const std::string_view key : content->keys) list_response(nullptr, key);
    } else if (content != nullptr) {
      return wrong_type(absl::StrCat("messages[", i, "].content"), "a string or an array", content);
    }
    if (i + 1 == messages.size() || !has_role(messages[i + 1], "tool")) close_turn();
    return {};
  }

  // An element of a list, or (item null) a key of an object, which iterates as its keys.
  void list_response(const Value* item, std::string_view key) {
    write("\n<response>");
    if (item == nullptr) {
      write(key);
    } else {
      const Value* shown = field(*item, "output");
      if (shown == nullptr && equals(field(*item, "type"), "text")) shown = field(*item, "text");
      append_str(out_.open_text(), shown != nullptr ? *shown : *item);
    }
    write("\n</response>");
  }

  void generation_prompt() {
    open_turn("ai\n");
    if (!thinks_ && dialect_.thinking == M2Dialect::Thinking::open_if_wanted) return;
    out_.add_markup(kThink);
    write("\n");
    if (!thinks_) {
      out_.add_markup(kThinkEnd);
      write("\n\n");
    }
  }

  const M2Dialect& dialect_;
  const ChatRequest& request_;
  const uint64_t limit_;
  Prompt out_;
  std::string buffer_;
  size_t first_ = 0;        // the first message after the system message
  int64_t last_user_ = -1;  // reasoning is shown only after it
  bool thinks_ = true;
  bool called_ = false;  // the latest assistant turn called a tool
};

}  // namespace

Result<ChatRequest> read_request(const Value& request) {
  if (!request.is_object()) return wrong_type("request", "an object", &request);
  ChatRequest out;
  out.messages = request.find("messages");
  if (out.messages == nullptr || !out.messages->is_array()) {
    return wrong_type("request.messages", "an array", out.messages);
  }
  out.tools = request.find("tools");
  if (out.tools != nullptr && out.tools->is_null()) out.tools = nullptr;
  if (out.tools != nullptr && !out.tools->is_array()) {
    return wrong_type("request.tools", "an array", out.tools);
  }
  out.add_generation_prompt = truthy(request.find("add_generation_prompt"));
  out.kwargs = request.find("kwargs");
  if (out.kwargs != nullptr && out.kwargs->is_null()) out.kwargs = nullptr;
  if (out.kwargs != nullptr && !out.kwargs->is_object()) {
    return wrong_type("request.kwargs", "an object", out.kwargs);
  }
  if (const Value* now = request.find("now"); now != nullptr && !now->is_null()) {
    if (now->is_string()) out.now = jinja::parse_date_time(now->text);
    if (!out.now) {
      return error(Code::invalid_argument,
                   "request.now: local time as in \"2026-01-02T03:04:05\" is needed");
    }
  }
  for (const char* own : {"messages", "tools", "add_generation_prompt"}) {
    if (out.kwarg(own) != nullptr) {
      return error(Code::invalid_argument, "request.kwargs.", own,
                   ": belongs beside kwargs, not into it");
    }
  }
  return out;
}

Result<Prompt> render_m2(const M2Dialect& dialect, const ChatRequest& request,
                         uint64_t max_output_bytes) {
  return Renderer(dialect, request, max_output_bytes).run();
}

}  // namespace mm2::chat
