// A conversation with a model: history, prompts made from it, answers understood.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "generation.h"
#include "json_io.h"
#include "output_parser.h"

namespace cli {

struct Answer {
  ParsedOutput output;
  size_t prompt_tokens = 0;
  GenerationResult generation;
};

/// The parts of a loaded model that a conversation needs; it borrows them.
struct ChatModel {
  const mm2_tokenizer* tokenizer;
  const mm2_chat_template* chat;
  Sequence* sequence;
  TokenIds stop_ids;
  mm2_sampler_options sampling{};
  int32_t max_tokens = 0;
  bool thinking = true;
};

class Conversation {
 public:
  explicit Conversation(ChatModel model) : model_(std::move(model)) {}

  void set_system(const std::string& text) { system_ = text; }
  const std::string& system() const { return system_; }
  /// `tools`: array of tool definitions, or null for none.
  void set_tools(const Json& tools) { tools_ = tools; }
  const Json& tools() const { return tools_; }
  void reset() { messages_ = Json::array(); }
  void set_thinking(bool thinking) { model_.thinking = thinking; }
  bool thinking() const { return model_.thinking; }
  /// Takes back the last question with everything that followed, and returns it; nothing when there
  /// is none.
  std::optional<std::string> undo();
  /// Other random numbers for the answers to come.
  void change_seed() { ++model_.sampling.seed; }

  void add_user(const std::string& text);
  void add_tool_result(const std::string& text);

  /// Lets the model answer the history; before_prompt_step as of Sequence::set, events arrive as they
  /// are understood. A complete or broken
  /// off answer enters the history. When nothing came but (part of) reasoning, or on failure, the
  /// messages since the last answer are taken back, so that the question can be asked again.
  Answer answer(const OutputParser::OnEvent& on_event,
                const Sequence::BeforeStep& before_prompt_step);

 private:
  struct Prompt {
    TokenIds ids;
    bool starts_in_think = false;
  };
  Prompt render() const;
  Answer generate_answer(const OutputParser::OnEvent& on_event,
                         const Sequence::BeforeStep& before_prompt_step);
  void add_answer(const Answer& answer);

  ChatModel model_;
  std::string system_;
  Json tools_;
  Json messages_ = Json::array();
  size_t n_settled_ = 0;  // messages up to and including the last answer
};

}  // namespace cli
