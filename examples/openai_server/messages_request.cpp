// POST /v1/messages: Anthropic's shape of a conversation, turned into OpenAI's.
#include "generation.h"

namespace server {
namespace {

/// A string, or blocks that are all text, as one string.
std::string read_text_blocks(const Json& content, const std::string& where) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) {
    throw BadRequest(
        where + " is " + kind_of(content) + ", but must be a string or an array of blocks", where);
  }
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    Members block(content[i], where + "[" + std::to_string(i) + "]");
    text += (i == 0 ? "" : "\n") + read_text_part(block);
    block.ignore({"cache_control", "citations"});
    block.finish();
  }
  return text;
}

void add_text(Json& message, const std::string& name, const std::string& text) {
  if (!message.contains(name)) {
    message[name] = text;
  } else {
    message[name] = message[name].get<std::string>() + "\n" + text;
  }
}

/// One block of an assistant's message.
void read_assistant_block(Members& block, const std::string& type, Json& message) {
  if (type == "text") {
    add_text(message, "content", block.required_text("text"));
    block.ignore({"citations"});
  } else if (type == "thinking") {
    add_text(message, "reasoning_content", block.required_text("thinking"));
    block.ignore({"signature"});
  } else if (type == "redacted_thinking") {
    block.ignore({"data"});
  } else if (type == "tool_use") {
    block.required("input");
    block.ignore({"caller"});
    message["tool_calls"].push_back(
        {{"type", "function"},
         {"id", block.required_text("id")},
         {"function",
          {{"name", block.required_text("name")}, {"arguments", *block.object("input")}}}});
  } else {
    throw BadRequest(block.path("type") + " is '" + type.substr(0, 40) +
                         "', which an assistant's message does not hold here",
                     block.path("type"));
  }
}

/// One block of a user's message: results of tools become messages of their own.
void read_user_block(Members& block, const std::string& type, Json& messages, Json& user) {
  if (type == "text") {
    add_text(user, "content", block.required_text("text"));
    block.ignore({"citations"});
  } else if (type == "tool_result") {
    const Json* content = block.find("content");
    std::string text = content == nullptr ? "" : read_text_blocks(*content, block.path("content"));
    if (block.flag("is_error").value_or(false)) text = "Error: " + text;
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", block.required_text("tool_use_id")},
                        {"content", text}});
  } else {
    throw BadRequest(block.path("type") + " is '" + type.substr(0, 40) +
                         "'; this model reads text and tool results only",
                     block.path("type"));
  }
}

void read_message(const Json& value, const std::string& where, Json& messages) {
  Members message(value, where);
  const std::string role = message.required_text("role");
  if (role != "user" && role != "assistant") {
    throw BadRequest(
        message.path("role") + " is '" + role.substr(0, 40) + "', but must be user or assistant",
        message.path("role"));
  }
  Json read = {{"role", role}};
  const Json& content = message.required("content");
  message.finish();
  if (content.is_string()) {
    read["content"] = content;
    messages.push_back(read);
    return;
  }
  if (!content.is_array())
    read_text_blocks(content, message.path("content"));  // says what is wrong
  for (size_t i = 0; i < content.size(); ++i) {
    Members block(content[i], message.path("content") + "[" + std::to_string(i) + "]");
    const std::string type = block.required_text("type");
    block.ignore({"cache_control"});
    if (role == "user") {
      read_user_block(block, type, messages, read);
    } else {
      read_assistant_block(block, type, read);
    }
    block.finish();
  }
  if (role == "assistant" && !read.contains("content")) read["content"] = "";
  if (read.contains("content")) messages.push_back(read);
}

/// Whether tools may be called; false for "none".
bool read_tool_choice(Members& body, Generation& g) {
  const Json* choice = body.object("tool_choice");
  if (choice == nullptr) return true;
  Members members(*choice, "tool_choice");
  const std::string type = members.required_text("type");
  g.output.one_call = members.flag("disable_parallel_tool_use").value_or(false);
  if (type != "auto" && type != "none") {
    throw BadRequest("tool_choice '" + type.substr(0, 40) +
                         "' is not supported by this version; auto and none are",
                     "tool_choice");
  }
  members.finish();
  return type == "auto";
}

bool read_thinking(Members& body) {
  const Json* thinking = body.object("thinking");
  if (thinking == nullptr) return true;  // the model's own way
  Members members(*thinking, "thinking");
  const std::string type = members.required_text("type");
  if (type != "enabled" && type != "disabled" && type != "adaptive") {
    throw BadRequest(
        "thinking.type is '" + type.substr(0, 40) + "', but must be enabled or disabled",
        "thinking.type");
  }
  members.integer("budget_tokens", 1, INT32_MAX);  // max_tokens bounds both
  members.ignore({"display"});
  members.finish();
  return type != "disabled";
}

void read_anthropic_sampling(const Service& service, Members& body, Job& job) {
  body.number("temperature", 0, 1);  // narrower than what is read with the rest
  for (const char* name : {"n", "logprobs", "logit_bias", "frequency_penalty", "presence_penalty",
                           "repetition_penalty", "stop", "max_completion_tokens"}) {
    body.refuse(name, "is not a member of this endpoint; /v1/chat/completions has it");
  }
  read_sampling(service, body, job);
}

}  // namespace

Json messages_from_anthropic(Members& body) {
  body.required("messages");
  const Json& list = *body.array("messages", 4096);
  if (list.empty()) throw BadRequest("messages is empty; at least one is needed", "messages");
  Json messages = Json::array();
  if (const Json* system = body.find("system")) {
    messages.push_back({{"role", "system"}, {"content", read_text_blocks(*system, "system")}});
  }
  for (size_t i = 0; i < list.size(); ++i) {
    read_message(list[i], "messages[" + std::to_string(i) + "]", messages);
  }
  if (messages.empty() || messages.back()["role"] == "assistant") {
    throw BadRequest("the last message is the assistant's; answers cannot be prefilled here",
                     "messages");
  }
  return messages;
}

Json tools_from_anthropic(const Json& tools) {
  Json read = Json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    Members tool(tools[i], "tools[" + std::to_string(i) + "]");
    if (const auto type = tool.text("type"); type && *type != "custom") {
      throw BadRequest(tool.path("type") + " is '" + type->substr(0, 40) +
                           "'; tools that a server runs are not supported",
                       tool.path("type"));
    }
    Json function = {{"name", tool.required_text("name")}};
    if (const auto description = tool.text("description")) function["description"] = *description;
    tool.required("input_schema");
    function["parameters"] = *tool.object("input_schema");
    tool.ignore({"cache_control"});
    tool.finish();
    read.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return read_tools(read);
}

Generation read_messages_request(const Service& service, const Json& json, const Client& client) {
  Members body(json, "");
  Generation g;
  g.model = read_model(service, body);
  const Json messages = messages_from_anthropic(body);
  const Json* raw_tools = body.array("tools", 512);
  const Json tools = raw_tools == nullptr ? Json::array() : tools_from_anthropic(*raw_tools);
  const bool may_call = read_tool_choice(body, g) && !tools.empty();
  const bool thinking = read_thinking(body);
  body.required("max_tokens");
  const auto max_tokens = body.integer("max_tokens", 1, INT32_MAX);
  g.output.stops = read_stops(body, "stop_sequences");
  g.stream = body.flag("stream").value_or(false);
  Job job;
  read_anthropic_sampling(service, body, job);
  read_common_rest(service, body);

  Service::Prompt prompt = service.render(messages, may_call ? &tools : nullptr, thinking, nullptr);
  job.max_tokens = answer_room(service, prompt.ids.size(), max_tokens);
  job.prompt = std::move(prompt.ids);
  set_owner(job, client, "");
  g.n_prompt_tokens = static_cast<int32_t>(job.prompt.size());
  g.output.starts_in_think = prompt.starts_in_think;
  if (may_call) g.output.tools_json = to_text(tools);
  g.jobs.push_back(std::move(job));
  return g;
}

}  // namespace server
