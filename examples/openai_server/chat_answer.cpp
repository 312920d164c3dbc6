// The answers of /v1/chat/completions.
#include <chrono>

#include "answer.h"

namespace server {

void WholeChoice::add(const std::vector<OutputEvent>& events) {
  for (const OutputEvent& event : events) {
    switch (event.kind) {
      case MM2_EVENT_REASONING:
        reasoning += event.data;
        break;
      case MM2_EVENT_TEXT:
        content += event.data;
        break;
      case MM2_EVENT_CALL_BEGIN:
        calls.push_back({event.data, "", false});
        break;
      case MM2_EVENT_CALL_ARGUMENTS:
        calls.back().arguments += event.data;
        break;
      default:
        calls.back().complete = true;
    }
  }
}

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

Json error_json(const std::string& sentence, int status, const std::string& param,
                const std::string& code) {
  const char* type = status == 401   ? "authentication_error"
                     : status == 403 ? "permission_error"
                     : status == 404 ? "not_found_error"
                     : status == 503 ? "overloaded_error"
                     : status >= 500 ? "server_error"
                                     : "invalid_request_error";
  Json error = {{"message", sentence}, {"type", type}, {"param", nullptr}, {"code", nullptr}};
  if (!param.empty()) error["param"] = param;
  if (!code.empty()) error["code"] = code;
  return {{"error", error}};
}

std::string error_event(const std::string& sentence) {
  return "data: " + to_text(error_json(sentence, 500)) + "\n\ndata: [DONE]\n\n";
}

int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Json logprob_json(const Service& service, const mm2_token_logprob& entry) {
  const std::string text = service.tokenizer().decode({entry.token});
  Json json = {{"token", text}, {"logprob", std::max(entry.logprob, -9999.0F)}, {"bytes", nullptr}};
  // A token that is part of a character has no text of its own, and the library gives no bytes.
  if (text.find("\xEF\xBF\xBD") == std::string::npos) {
    json["bytes"] = std::vector<uint8_t>(text.begin(), text.end());
  }
  return json;
}

namespace {

Json logprobs_json(const Service& service, const std::vector<ChoiceOutput::TokenInfo>& tokens) {
  Json content = Json::array();
  for (const auto& token : tokens) {
    Json entry = logprob_json(service, token.top.front());
    entry["top_logprobs"] = Json::array();
    for (size_t i = 1; i < token.top.size() && token.top[i].token >= 0; ++i) {
      entry["top_logprobs"].push_back(logprob_json(service, token.top[i]));
    }
    content.push_back(std::move(entry));
  }
  return {{"content", content}};
}

class ChatAnswer : public Answer {
 public:
  ChatAnswer(const Service& service, const Generation& g)
      : service_(service),
        id_(service.new_id("chatcmpl-")),
        model_(g.model),
        n_choices_(g.n_choices()),
        include_usage_(g.include_usage),
        logprobs_(g.logprobs) {
    // Every chunk begins with the same words: they are written once.
    head_ = "data: {\"id\":" + quote(id_) +
            ",\"object\":\"chat.completion.chunk\",\"created\":" + std::to_string(created_) +
            ",\"model\":" + quote(model_) + ",\"choices\":";
  }

  std::string begin() override {
    std::string text;
    for (int32_t i = 0; i < n_choices_; ++i) {
      text += chunk(i, R"({"role":"assistant","content":""})");
    }
    return text;
  }

  std::string on_events(int32_t choice, const std::vector<OutputEvent>& events,
                        const std::vector<ChoiceOutput::TokenInfo>& tokens) override {
    std::string logprobs = "null", text;
    if (!tokens.empty()) logprobs = to_text(logprobs_json(service_, tokens));
    for (const OutputEvent& event : events) {
      const std::string delta = delta_of(choice, event);
      if (delta.empty()) continue;
      text += chunk(choice, delta, "null", logprobs);
      logprobs = "null";
    }
    if (logprobs != "null") text += chunk(choice, "{}", "null", logprobs);
    return text;
  }

  std::string on_end(int32_t choice, const ChoiceOutput& output) override {
    return chunk(choice, "{}", quote(output.finish_reason()));
  }

  std::string end(const Usage& usage) override {
    std::string text;
    if (include_usage_) text = head_ + "[],\"usage\":" + to_text(usage_json(usage)) + "}\n\n";
    return text + "data: [DONE]\n\n";
  }

  std::string failure(const std::string& sentence) override { return error_event(sentence); }

  Json whole(const std::vector<WholeChoice>& choices,
             const std::vector<const ChoiceOutput*>& outputs, const Usage& usage) override {
    Json list = Json::array();
    for (size_t i = 0; i < choices.size(); ++i) {
      Json choice = {{"index", i},
                     {"message", message(static_cast<int32_t>(i), choices[i])},
                     {"logprobs", nullptr},
                     {"finish_reason", outputs[i]->finish_reason()}};
      if (logprobs_) choice["logprobs"] = logprobs_json(service_, choices[i].tokens);
      list.push_back(std::move(choice));
    }
    return {{"id", id_},           {"object", "chat.completion"},
            {"created", created_}, {"model", model_},
            {"choices", list},     {"usage", usage_json(usage)}};
  }

 private:
  std::string call_id(int32_t choice, int32_t call) const {
    return "call_" + id_.substr(9) + "_" + std::to_string(choice) + "_" + std::to_string(call);
  }

  std::string chunk(int32_t choice, const std::string& delta, const std::string& finish = "null",
                    const std::string& logprobs = "null") const {
    return head_ + "[{\"index\":" + std::to_string(choice) + ",\"delta\":" + delta +
           ",\"logprobs\":" + logprobs + ",\"finish_reason\":" + finish + "}]" +
           (include_usage_ ? ",\"usage\":null}\n\n" : "}\n\n");
  }

  std::string delta_of(int32_t choice, const OutputEvent& event) const {
    const std::string index = std::to_string(event.call_index);
    switch (event.kind) {
      case MM2_EVENT_REASONING:
        return "{\"reasoning_content\":" + quote(event.data) + "}";
      case MM2_EVENT_TEXT:
        return "{\"content\":" + quote(event.data) + "}";
      case MM2_EVENT_CALL_BEGIN:
        return "{\"tool_calls\":[{\"index\":" + index +
               ",\"id\":" + quote(call_id(choice, event.call_index)) +
               ",\"type\":\"function\",\"function\":{\"name\":" + quote(event.data) +
               ",\"arguments\":\"\"}}]}";
      case MM2_EVENT_CALL_ARGUMENTS:
        return "{\"tool_calls\":[{\"index\":" + index +
               ",\"function\":{\"arguments\":" + quote(event.data) + "}}]}";
      default:
        return {};
    }
  }

  Json message(int32_t choice, const WholeChoice& whole) const {
    Json message = {{"role", "assistant"}, {"content", nullptr}};
    if (!whole.content.empty()) message["content"] = whole.content;
    if (!whole.reasoning.empty()) message["reasoning_content"] = whole.reasoning;
    for (size_t i = 0; i < whole.calls.size(); ++i) {
      const auto& call = whole.calls[i];
      if (!call.complete) continue;  // the answer broke off inside it
      message["tool_calls"].push_back(
          {{"id", call_id(choice, static_cast<int32_t>(i))},
           {"type", "function"},
           {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    }
    if (message["content"].is_null() && !message.contains("tool_calls")) message["content"] = "";
    return message;
  }

  const Service& service_;
  const std::string id_, model_;
  const int32_t n_choices_;
  const bool include_usage_, logprobs_;
  const int64_t created_ = unix_time();
  std::string head_;
};

}  // namespace

std::unique_ptr<Answer> make_chat_answer(const Service& service, const Generation& generation) {
  return std::make_unique<ChatAnswer>(service, generation);
}

}  // namespace server
