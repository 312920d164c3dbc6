// The answers of /v1/messages: a list of blocks, each of reasoning, text or one call.
#include "answer.h"

namespace server {
namespace {

std::string event_text(const char* name, Json data) {
  Json whole = {{"type", name}};
  whole.update(data);
  return std::string("event: ") + name + "\ndata: " + to_text(whole) + "\n\n";
}

class MessagesAnswer : public Answer {
 public:
  MessagesAnswer(const Service& service, const Generation& g)
      : id_(service.new_id("msg_")), model_(g.model), n_prompt_(g.n_prompt_tokens) {}

  std::string begin() override {
    Json message = frame(Json::array(), nullptr, nullptr);
    message["usage"] = {{"input_tokens", n_prompt_}, {"output_tokens", 0}};
    return event_text("message_start", {{"message", message}});
  }

  std::string on_events(int32_t, const std::vector<OutputEvent>& events,
                        const std::vector<ChoiceOutput::TokenInfo>&) override {
    std::string text;
    for (const OutputEvent& event : events) text += on_event(event);
    return text;
  }

  std::string on_end(int32_t, const ChoiceOutput& output) override {
    stop_reason_ = reason_of(output);
    if (output.stop_string() != nullptr) stop_sequence_ = *output.stop_string();
    return close_block();
  }

  std::string end(const Usage& usage) override {
    return event_text(
               "message_delta",
               {{"delta", {{"stop_reason", stop_reason_}, {"stop_sequence", stop_sequence_}}},
                {"usage", usage_of(usage)}}) +
           event_text("message_stop", Json::object());
  }

  std::string failure(const std::string& sentence) override {
    return event_text("error", {{"error", {{"type", "api_error"}, {"message", sentence}}}});
  }

  std::string keep_alive() const override { return event_text("ping", Json::object()); }

  Json whole(const std::vector<WholeChoice>& choices,
             const std::vector<const ChoiceOutput*>& outputs, const Usage& usage) override {
    const WholeChoice& choice = choices.front();
    Json blocks = Json::array();
    if (!choice.reasoning.empty()) {
      blocks.push_back({{"type", "thinking"}, {"thinking", choice.reasoning}, {"signature", ""}});
    }
    if (!choice.content.empty()) blocks.push_back({{"type", "text"}, {"text", choice.content}});
    for (size_t i = 0; i < choice.calls.size(); ++i) {
      const auto& call = choice.calls[i];
      if (!call.complete) continue;  // the answer broke off inside it
      blocks.push_back({{"type", "tool_use"},
                        {"id", call_id(i)},
                        {"name", call.name},
                        {"input", parse_inner(call.arguments, "the arguments of a call")}});
    }
    const std::string* stop = outputs.front()->stop_string();
    Json message = frame(std::move(blocks), reason_of(*outputs.front()),
                         stop == nullptr ? Json(nullptr) : Json(*stop));
    message["usage"] = usage_of(usage);
    return message;
  }

 private:
  static std::string reason_of(const ChoiceOutput& output) {
    if (output.stop_string() != nullptr) return "stop_sequence";
    if (output.finish_reason() == "tool_calls") return "tool_use";
    return output.finish_reason() == "length" ? "max_tokens" : "end_turn";
  }

  static Json usage_of(const Usage& usage) {
    return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
            {"cache_read_input_tokens", usage.cached_tokens},
            {"cache_creation_input_tokens", 0},
            {"output_tokens", usage.completion_tokens}};
  }

  std::string call_id(size_t index) const {
    return "toolu_" + id_.substr(4) + "_" + std::to_string(index);
  }

  Json frame(Json content, Json reason, Json stop) const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_},
            {"content", std::move(content)},
            {"stop_reason", std::move(reason)},
            {"stop_sequence", std::move(stop)}};
  }

  std::string on_event(const OutputEvent& event) {
    const bool begins = event.kind == MM2_EVENT_CALL_BEGIN;
    const bool goes_on = event.kind == MM2_EVENT_CALL_ARGUMENTS;
    if (event.kind == MM2_EVENT_CALL_END) return close_block();
    std::string text;
    if (begins || (!goes_on && open_kind_ != event.kind)) {
      text = close_block();
      text += open_block(event);
    }
    if (begins) return text;
    Json delta;
    if (goes_on) {
      delta = {{"type", "input_json_delta"}, {"partial_json", event.data}};
    } else if (event.kind == MM2_EVENT_REASONING) {
      delta = {{"type", "thinking_delta"}, {"thinking", event.data}};
    } else {
      delta = {{"type", "text_delta"}, {"text", event.data}};
    }
    return text + event_text("content_block_delta", {{"index", n_blocks_ - 1}, {"delta", delta}});
  }

  std::string open_block(const OutputEvent& event) {
    Json block;
    if (event.kind == MM2_EVENT_REASONING) {
      block = {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}};
    } else if (event.kind == MM2_EVENT_TEXT) {
      block = {{"type", "text"}, {"text", ""}};
    } else {
      block = {{"type", "tool_use"},
               {"id", call_id(static_cast<size_t>(event.call_index))},
               {"name", event.data},
               {"input", Json::object()}};
    }
    open_kind_ = event.kind;
    return event_text("content_block_start", {{"index", n_blocks_++}, {"content_block", block}});
  }

  std::string close_block() {
    if (open_kind_ == 0) return {};
    open_kind_ = 0;
    return event_text("content_block_stop", {{"index", n_blocks_ - 1}});
  }

  const std::string id_, model_;
  const int32_t n_prompt_;
  int32_t n_blocks_ = 0;
  int32_t open_kind_ = 0;  // of the block that is being written; 0 = none
  std::string stop_reason_;
  Json stop_sequence_;
};

}  // namespace

std::unique_ptr<Answer> make_messages_answer(const Service& service, const Generation& generation) {
  return std::make_unique<MessagesAnswer>(service, generation);
}

}  // namespace server
