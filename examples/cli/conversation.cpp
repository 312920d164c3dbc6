#include "conversation.h"

namespace cli {
namespace {

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

void Conversation::add_user(const std::string& text) {
  messages_.push_back({{"role", "user"}, {"content", text}});
}

void Conversation::add_tool_result(const std::string& text) {
  messages_.push_back({{"role", "tool"}, {"content", text}});
}

std::optional<std::string> Conversation::undo() {
  size_t n = messages_.size();
  while (n > 0 && messages_[n - 1]["role"] != "user") --n;
  if (n == 0) return std::nullopt;
  std::string question = messages_[n - 1]["content"];
  messages_.erase(messages_.begin() + static_cast<ptrdiff_t>(n - 1), messages_.end());
  return question;
}

Answer Conversation::answer(const OutputParser::OnEvent& on_event,
                            const Sequence::BeforeStep& before_prompt_step) {
  n_settled_ = std::min(n_settled_, messages_.size());
  Json before = messages_;
  before.erase(before.begin() + static_cast<ptrdiff_t>(n_settled_), before.end());
  try {
    Answer answer = generate_answer(on_event, before_prompt_step);
    if (answer.output.content.empty() && answer.output.calls.empty()) {
      messages_ = std::move(before);
    } else {
      add_answer(answer);
      n_settled_ = messages_.size();
    }
    return answer;
  } catch (const Failure&) {
    messages_ = std::move(before);
    throw;
  }
}

Answer Conversation::generate_answer(const OutputParser::OnEvent& on_event,
                                     const Sequence::BeforeStep& before_prompt_step) {
  const Prompt prompt = render();
  Answer answer;
  answer.prompt_tokens = prompt.ids.size();
  OutputParser parser(MM2_PARSER_MINIMAX_M2, prompt.starts_in_think,
                      tools_.is_array() ? to_text(tools_) : "",
                      [&](const mm2_event& event, std::string_view data) {
                        answer.output.add(event, data);
                        on_event(event, data);
                      });
  const auto stream =
      make<Detokenizer>("starting a stream", mm2_detokenizer_create, model_.tokenizer, 0u);
  Buffer piece;
  GenerationRequest request;
  request.prompt = prompt.ids;
  request.max_tokens = model_.max_tokens;
  request.sampling = model_.sampling;
  request.stop_ids = model_.stop_ids;
  request.tokenizer = model_.tokenizer;
  request.before_prompt_step = before_prompt_step;
  answer.generation = generate(*model_.sequence, request, [&](int32_t id) {
    call("detokenizing", mm2_detokenizer_push, stream.get(), id, piece.get());
    parser.push(piece.text());
  });
  call("detokenizing", mm2_detokenizer_flush, stream.get(), piece.get());
  parser.push(piece.text());
  parser.finish();
  return answer;
}

Conversation::Prompt Conversation::render() const {
  Json messages = Json::array();
  if (!system_.empty()) messages.push_back({{"role", "system"}, {"content", system_}});
  for (const Json& message : messages_) messages.push_back(message);
  Json request = {{"messages", messages}, {"add_generation_prompt", true}};
  if (tools_.is_array()) request["tools"] = tools_;
  if (!model_.thinking) request["kwargs"] = {{"enable_thinking", false}};

  const std::string json = to_text(request);
  Buffer text, ids;
  call("rendering the conversation", mm2_chat_render, model_.chat, model_.tokenizer, json.data(),
       json.size(), nullptr, text.get(), ids.get());
  Prompt prompt{ids.ids(),
                ends_with(text.text(), "<think>\n") || ends_with(text.text(), "<think>")};
  if (prompt.starts_in_think && !model_.thinking) {
    // A template without that switch: reasoning that is over before it began has the same effect.
    const TokenIds closing = encode(model_.tokenizer, "</think>\n\n", MM2_PARSE_SPECIAL);
    prompt.ids.insert(prompt.ids.end(), closing.begin(), closing.end());
    prompt.starts_in_think = false;
  }
  return prompt;
}

void Conversation::add_answer(const Answer& answer) {
  Json message = {{"role", "assistant"}, {"content", answer.output.content}};
  if (!answer.output.reasoning.empty()) message["reasoning_content"] = answer.output.reasoning;
  for (const ToolCall& call : answer.output.calls) {
    const Json function = {{"name", call.name},
                           {"arguments", parse_json(call.arguments, "reading a tool call")}};
    message["tool_calls"].push_back({{"type", "function"}, {"function", function}});
  }
  messages_.push_back(message);
}

}  // namespace cli
