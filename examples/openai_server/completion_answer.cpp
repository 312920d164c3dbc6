// The answers of /v1/completions.
#include "answer.h"

namespace server {
namespace {

class CompletionAnswer : public Answer {
 public:
  CompletionAnswer(const Service& service, const Generation& g)
      : service_(service),
        id_(service.new_id("cmpl-")),
        model_(g.model),
        include_usage_(g.include_usage),
        logprobs_(g.logprobs) {}

  std::string begin() override { return {}; }

  std::string on_events(int32_t choice, const std::vector<OutputEvent>& events,
                        const std::vector<ChoiceOutput::TokenInfo>& tokens) override {
    std::string text;
    for (const OutputEvent& event : events) text += event.data;
    return chunk(choice, text, nullptr, tokens);
  }

  std::string on_end(int32_t choice, const ChoiceOutput& output) override {
    return chunk(choice, "", output.finish_reason(), {});
  }

  std::string end(const Usage& usage) override {
    std::string text;
    if (include_usage_) {
      Json last = frame(Json::array());
      last["usage"] = usage_json(usage);
      text = "data: " + to_text(last) + "\n\n";
    }
    return text + "data: [DONE]\n\n";
  }

  std::string failure(const std::string& sentence) override { return error_event(sentence); }

  Json whole(const std::vector<WholeChoice>& choices,
             const std::vector<const ChoiceOutput*>& outputs, const Usage& usage) override {
    Json list = Json::array();
    for (size_t i = 0; i < choices.size(); ++i) {
      list.push_back(choice_json(static_cast<int32_t>(i), choices[i].content,
                                 outputs[i]->finish_reason(), choices[i].tokens));
    }
    Json json = frame(std::move(list));
    json["usage"] = usage_json(usage);
    return json;
  }

 private:
  Json frame(Json choices) const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", model_},
            {"choices", std::move(choices)}};
  }

  // The four lists of OpenAI's older format.
  Json logprobs_json(const std::vector<ChoiceOutput::TokenInfo>& tokens) const {
    Json texts = Json::array(), logprobs = Json::array(), tops = Json::array(),
         offsets = Json::array();
    for (const auto& token : tokens) {
      texts.push_back(token.text);
      logprobs.push_back(std::max(token.top.front().logprob, -9999.0F));
      Json top = Json::object();
      for (size_t i = 1; i < token.top.size() && token.top[i].token >= 0; ++i) {
        top[service_.tokenizer().decode({token.top[i].token})] =
            std::max(token.top[i].logprob, -9999.0F);
      }
      tops.push_back(std::move(top));
      offsets.push_back(token.text_offset);
    }
    return {{"tokens", texts},
            {"token_logprobs", logprobs},
            {"top_logprobs", tops},
            {"text_offset", offsets}};
  }

  Json choice_json(int32_t index, const std::string& text, const Json& finish,
                   const std::vector<ChoiceOutput::TokenInfo>& tokens) const {
    Json choice = {
        {"index", index}, {"text", text}, {"logprobs", nullptr}, {"finish_reason", finish}};
    if (logprobs_) choice["logprobs"] = logprobs_json(tokens);
    return choice;
  }

  std::string chunk(int32_t index, const std::string& text, const Json& finish,
                    const std::vector<ChoiceOutput::TokenInfo>& tokens) const {
    Json json = frame(Json::array({choice_json(index, text, finish, tokens)}));
    if (include_usage_) json["usage"] = nullptr;
    return "data: " + to_text(json) + "\n\n";
  }

  const Service& service_;
  const std::string id_, model_;
  const bool include_usage_, logprobs_;
  const int64_t created_ = unix_time();
};

}  // namespace

std::unique_ptr<Answer> make_completion_answer(const Service& service,
                                               const Generation& generation) {
  return std::make_unique<CompletionAnswer>(service, generation);
}

}  // namespace server
