// How an endpoint writes what was generated: piece by piece as server-sent events, or at once.
#pragma once

#include <memory>

#include "generation.h"

namespace server {

struct Usage {
  int32_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0, reasoning_tokens = 0;
};

/// All that one choice came to.
struct WholeChoice {
  struct Call {
    std::string name, arguments;
    bool complete = false;
  };
  std::string reasoning, content;
  std::vector<Call> calls;
  std::vector<ChoiceOutput::TokenInfo> tokens;

  void add(const std::vector<OutputEvent>& events);
};

class Answer {
 public:
  virtual ~Answer() = default;

  // ---- piece by piece: text of server-sent events
  virtual std::string begin() = 0;
  /// New events and tokens of a choice.
  virtual std::string on_events(int32_t choice, const std::vector<OutputEvent>& events,
                                const std::vector<ChoiceOutput::TokenInfo>& tokens) = 0;
  /// A choice is over, and did not fail.
  virtual std::string on_end(int32_t choice, const ChoiceOutput& output) = 0;
  virtual std::string end(const Usage& usage) = 0;
  /// Something failed after the headers had been sent.
  virtual std::string failure(const std::string& sentence) = 0;
  virtual std::string keep_alive() const { return ": waiting\n\n"; }

  // ---- at once
  virtual Json whole(const std::vector<WholeChoice>& choices,
                     const std::vector<const ChoiceOutput*>& outputs, const Usage& usage) = 0;
};

std::unique_ptr<Answer> make_chat_answer(const Service& service, const Generation& generation);
std::unique_ptr<Answer> make_completion_answer(const Service& service,
                                               const Generation& generation);
std::unique_ptr<Answer> make_messages_answer(const Service& service, const Generation& generation);

/// OpenAI's words for it.
Json usage_json(const Usage& usage);
/// {"error": {"message", "type", "param", "code"}}
Json error_json(const std::string& sentence, int status, const std::string& param = {},
                const std::string& code = {});
/// The same as the last event of a stream.
std::string error_event(const std::string& sentence);
/// Seconds since 1970.
int64_t unix_time();
/// OpenAI's entry for one token: {"token", "logprob", "bytes"}.
Json logprob_json(const Service& service, const mm2_token_logprob& entry);

}  // namespace server
