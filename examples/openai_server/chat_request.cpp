// POST /v1/chat/completions: what may stand in its body.
#include "generation.h"

namespace server {
namespace {

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxTools = 512;
constexpr int64_t kMaxChoices = 64;

/// A string, or an array of parts that are all text; anything else is refused by its name.
Json read_content(const Json& content, const std::string& where) {
  if (content.is_string()) return content;
  if (!content.is_array()) {
    throw BadRequest(
        where + " is " + kind_of(content) + ", but must be a string or an array of parts", where);
  }
  Json parts = Json::array();
  for (size_t i = 0; i < content.size(); ++i) {
    Members part(content[i], where + "[" + std::to_string(i) + "]");
    parts.push_back({{"type", "text"}, {"text", read_text_part(part)}});
  }
  return parts;
}

/// The arguments of a call, which OpenAI writes as a string of JSON, as the object they are.
Json read_arguments(const Json& arguments, const std::string& where) {
  if (arguments.is_object()) return arguments;
  if (!arguments.is_string()) {
    throw BadRequest(
        where + " is " + kind_of(arguments) + ", but must be a JSON object as a string", where);
  }
  const auto& text = arguments.get_ref<const std::string&>();
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return Json::object();
  Json parsed = parse_inner(text, where);
  if (!parsed.is_object()) {
    throw BadRequest(where + " holds " + kind_of(parsed) + ", but must hold a JSON object", where);
  }
  return parsed;
}

Json read_tool_calls(const Json& calls, const std::string& where) {
  Json read = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    Members call(calls[i], where + "[" + std::to_string(i) + "]");
    if (const auto type = call.text("type"); type && *type != "function") {
      throw BadRequest(call.path("type") + " must be 'function'", call.path("type"));
    }
    Members function(call.required("function"), call.path("function"));
    Json entry = {{"type", "function"}};
    if (const auto id = call.text("id")) entry["id"] = *id;
    const Json* arguments = function.find("arguments");
    entry["function"] = {
        {"name", function.required_text("name")},
        {"arguments", arguments == nullptr
                          ? Json::object()
                          : read_arguments(*arguments, function.path("arguments"))}};
    read.push_back(std::move(entry));
  }
  return read;
}

Json read_assistant(Members& message) {
  Json read = {{"role", "assistant"}};
  const Json* content = message.find("content");
  const Json* calls = message.array("tool_calls", 256);
  message.refuse("function_call", "is not supported; use tool_calls");
  message.refuse("audio", "is not supported; this model reads and writes text only");
  if (content == nullptr && (calls == nullptr || calls->empty())) {
    throw BadRequest(message.path("content") + " is missing, and there are no tool_calls either",
                     message.path("content"));
  }
  read["content"] = content == nullptr ? Json("") : read_content(*content, message.path("content"));
  auto reasoning = message.text("reasoning_content");
  if (const auto other = message.text("reasoning"); !reasoning) reasoning = other;
  if (reasoning) read["reasoning_content"] = *reasoning;
  if (calls != nullptr && !calls->empty()) {
    read["tool_calls"] = read_tool_calls(*calls, message.path("tool_calls"));
  }
  message.ignore({"refusal", "annotations", "reasoning_details"});
  return read;
}

Json read_message(const Json& value, const std::string& where) {
  Members message(value, where);
  const std::string role = message.required_text("role");
  message.ignore({"name"});
  Json read;
  if (role == "assistant") {
    read = read_assistant(message);
  } else if (role == "system" || role == "developer" || role == "user" || role == "tool") {
    read = {{"role", role == "developer" ? "system" : role},
            {"content", read_content(message.required("content"), message.path("content"))}};
    if (role == "tool") {
      if (const auto id = message.text("tool_call_id")) read["tool_call_id"] = *id;
    }
  } else {
    throw BadRequest(message.path("role") + " is '" + role.substr(0, 40) +
                         "', but must be system, developer, user, assistant or tool",
                     message.path("role"));
  }
  message.finish();
  return read;
}

void read_tool_choice(Members& body, const Json*& tools) {
  const Json* choice = body.find("tool_choice");
  if (choice == nullptr) return;
  if (*choice == "none") {
    tools = nullptr;
    return;
  }
  if (*choice == "auto") return;
  const std::string named = choice->is_string()
                                ? "'" + choice->get<std::string>().substr(0, 40) + "'"
                                : "a named function";
  throw BadRequest("tool_choice " + named + " is not supported by this version; auto and none are",
                   "tool_choice");
}

void read_response_format(Members& body) {
  const Json* format = body.object("response_format");
  if (format == nullptr) return;
  Members members(*format, "response_format");
  const std::string type = members.required_text("type");
  if (type != "text") {
    throw BadRequest("response_format '" + type.substr(0, 40) +
                         "' is not supported: this version cannot constrain answers to a grammar",
                     "response_format");
  }
}

void read_logprobs(Members& body, Generation& g) {
  g.logprobs = body.flag("logprobs").value_or(false);
  const auto top = body.integer("top_logprobs", 0, 20);
  if (top && !g.logprobs) {
    throw BadRequest("top_logprobs is given, but logprobs is not true", "top_logprobs");
  }
  g.n_logprobs = static_cast<int32_t>(top.value_or(0));
}

/// Whether the model is to think, from all the ways in which clients say it.
bool read_thinking(Members& body, Json& kwargs) {
  bool thinking = true;
  kwargs = read_template_kwargs(body, thinking);
  if (const auto effort = body.text("reasoning_effort")) {
    if (*effort != "none") {
      throw BadRequest("reasoning_effort '" + effort->substr(0, 40) +
                           "' is not supported: this model knows 'none' only",
                       "reasoning_effort");
    }
    thinking = false;
  }
  return thinking;
}

/// reasoning_content or inline: the server's mode, unless the request says it.
int32_t read_parser_mode(const Service& service, Members& body) {
  const auto split = body.flag("reasoning_split");
  if (!split) return service.options().parser_mode;
  return *split ? MM2_PARSER_MINIMAX_M2 : MM2_PARSER_MINIMAX_M2_APPEND_THINK;
}

void refuse_others(Members& body) {
  body.refuse("functions", "is not supported; use tools");
  body.refuse("function_call", "is not supported; use tool_choice");
  for (const char* name :
       {"audio", "prediction", "web_search_options", "verbosity", "best_of", "echo", "suffix",
        "documents", "chat_template", "continue_final_message"}) {
    body.refuse(name, "is not supported by this version");
  }
  if (const Json* modalities = body.array("modalities", 8);
      modalities != nullptr && *modalities != Json::array({"text"})) {
    throw BadRequest("modalities may hold \"text\" only", "modalities");
  }
}

}  // namespace

Json read_messages(const Json& messages) {
  if (messages.empty()) throw BadRequest("messages is empty; at least one is needed", "messages");
  Json read = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    read.push_back(read_message(messages[i], "messages[" + std::to_string(i) + "]"));
  }
  return read;
}

Json read_tools(const Json& tools) {
  Json read = Json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    Members tool(tools[i], "tools[" + std::to_string(i) + "]");
    if (const std::string type = tool.required_text("type"); type != "function") {
      throw BadRequest(
          tool.path("type") + " is '" + type.substr(0, 40) + "', but must be 'function'",
          tool.path("type"));
    }
    Members function(tool.required("function"), tool.path("function"));
    const std::string name = function.required_text("name");
    const auto is_allowed = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
    };
    if (name.empty() || name.size() > 128 || !std::all_of(name.begin(), name.end(), is_allowed)) {
      throw BadRequest(function.path("name") + " must be 1 to 128 letters, digits, _, - or .",
                       function.path("name"));
    }
    function.text("description");
    function.object("parameters");
    if (function.flag("strict").value_or(false)) {
      throw BadRequest(function.path("strict") +
                           " is not supported: this version cannot constrain answers to a grammar",
                       function.path("strict"));
    }
    function.finish();
    Json entry = tools[i]["function"];
    entry.erase("strict");
    read.push_back({{"type", "function"}, {"function", std::move(entry)}});
  }
  return read;
}

Json read_template_kwargs(Members& body, bool& thinking) {
  const Json* kwargs = body.object("chat_template_kwargs");
  if (kwargs == nullptr) return nullptr;
  Members members(*kwargs, "chat_template_kwargs");
  if (const auto enabled = members.flag("enable_thinking")) thinking = *enabled;
  Json rest = *kwargs;
  rest.erase("enable_thinking");
  for (const char* name : {"messages", "tools", "add_generation_prompt", "tokenize"}) {
    if (rest.contains(name)) {
      throw BadRequest(members.path(name) + " is not a variable that requests may set",
                       members.path(name));
    }
  }
  return rest.empty() ? Json(nullptr) : rest;
}

Generation read_chat_request(const Service& service, const Json& json, const Client& client) {
  Members body(json, "");
  Generation g;
  g.model = read_model(service, body);
  body.required("messages");
  const Json messages = read_messages(*body.array("messages", kMaxMessages));
  const Json* raw_tools = body.array("tools", kMaxTools);
  read_tool_choice(body, raw_tools);
  const Json tools = raw_tools == nullptr ? Json::array() : read_tools(*raw_tools);
  g.output.one_call = !body.flag("parallel_tool_calls").value_or(true);
  Json kwargs;
  const bool thinking = read_thinking(body, kwargs);
  const bool add_generation_prompt = body.flag("add_generation_prompt").value_or(true);
  read_response_format(body);
  read_logprobs(body, g);
  read_stream(body, g);
  g.output.parser_mode = read_parser_mode(service, body);
  g.output.stops = read_stops(body, "stop");
  const auto max_tokens = body.integer("max_tokens", 1, INT32_MAX);
  const auto max_completion_tokens = body.integer("max_completion_tokens", 1, INT32_MAX);
  const auto n =
      body.integer("n", 1, std::min<int64_t>(kMaxChoices, service.options().max_waiting));
  const std::string salt = body.text("cache_salt").value_or("");

  Job job;
  read_sampling(service, body, job);
  refuse_others(body);
  read_common_rest(service, body);

  Service::Prompt prompt =
      service.render(messages, tools.empty() ? nullptr : &tools, thinking,
                     kwargs.is_null() ? nullptr : &kwargs, add_generation_prompt);
  job.max_tokens = answer_room(service, prompt.ids.size(),
                               max_completion_tokens ? max_completion_tokens : max_tokens);
  job.prompt = std::move(prompt.ids);
  job.n = static_cast<int32_t>(n.value_or(1));
  job.logprobs = g.logprobs;
  job.sampling.n_logprobs = g.n_logprobs;
  set_owner(job, client, salt);
  g.n_prompt_tokens = static_cast<int32_t>(job.prompt.size());
  g.output.starts_in_think = prompt.starts_in_think;
  if (!tools.empty()) g.output.tools_json = to_text(tools);
  g.jobs.push_back(std::move(job));
  return g;
}

}  // namespace server
