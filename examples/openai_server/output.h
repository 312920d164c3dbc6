// From the tokens of one choice to what a client sees: text, reasoning, tool calls, log
// probabilities; stop strings end it. Runs on the thread of the connection.
#pragma once

#include <optional>

#include "channel.h"
#include "service.h"

namespace server {

struct OutputOptions {
  bool raw = false;  // everything is text, as /v1/completions wants it
  int32_t parser_mode = MM2_PARSER_MINIMAX_M2;
  bool starts_in_think = false;
  std::string tools_json;          // for the types of arguments; may be empty
  std::vector<std::string> stops;  // looked for in text, not in reasoning or calls
  bool one_call = false;           // the answer ends with its first tool call
};

struct OutputEvent {
  int32_t kind;  // MM2_EVENT_REASONING, _TEXT, _CALL_BEGIN, _CALL_ARGUMENTS, _CALL_END
  int32_t call_index;
  std::string data;
};

/// Finds the first of several strings in a stream of text, and holds back what may begin one.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  /// What can be shown of the text so far. After a hit: what came before it.
  std::string push(std::string_view text);
  std::string flush();
  const std::string* hit() const { return hit_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  const std::string* hit_ = nullptr;
};

class ChoiceOutput {
 public:
  ChoiceOutput(const Service& service, const OutputOptions& options);

  /// Takes the next event of the engine. True when the answer is over by that.
  bool push(const TokenEvent& event);
  bool over() const { return over_; }

  /// What has come since the last call.
  std::vector<OutputEvent> take_events();
  struct TokenInfo {
    std::string text;
    std::vector<mm2_token_logprob> top;  // the token itself, then the most likely ones
    size_t text_offset;                  // in bytes of the raw output
  };
  std::vector<TokenInfo> take_tokens();

  /// "stop", "length", "tool_calls"; empty before the end and after a failure.
  const std::string& finish_reason() const { return finish_reason_; }
  const std::string* stop_string() const { return stops_.hit(); }
  const std::string& failure() const { return failure_; }
  int32_t n_tokens() const { return n_tokens_; }
  int32_t n_reasoning_tokens() const { return n_reasoning_tokens_; }
  int32_t n_cached() const { return n_cached_; }

 private:
  void push_text(std::string_view piece);
  void drain();
  void add_text(std::string text);
  void end(const std::string& reason);

  const Service& service_;
  const OutputOptions& options_;
  mm2::Detokenizer detokenizer_;
  std::optional<mm2::Parser> parser_;
  StopFilter stops_;
  std::vector<OutputEvent> events_;
  std::vector<TokenInfo> tokens_;
  std::string finish_reason_, failure_;
  size_t n_bytes_ = 0;
  int32_t n_tokens_ = 0, n_reasoning_tokens_ = 0, n_cached_ = 0, n_calls_ = 0;
  bool reasoning_, over_ = false, ended_by_stop_ = false;
};

}  // namespace server
