// Token after token, until the model or the user says stop.
#pragma once

#include <functional>

#include "session.h"

namespace cli {

enum class Stop { end_of_turn, max_tokens, no_room, interrupted };
/// "stop", "length", "length", "interrupted": as in OpenAI's finish_reason where that has a word.
const char* stop_name(Stop stop);

struct GenerationRequest {
  TokenIds prompt;
  int32_t max_tokens = 0;
  mm2_sampler_options sampling{};
  TokenIds stop_ids;
  const mm2_tokenizer* tokenizer = nullptr;  // for its stop ids; may be null
  Sequence::BeforeStep before_prompt_step;   // may be empty
};

struct GenerationResult {
  TokenIds ids;  // without the stop token
  Stop stop = Stop::max_tokens;
  size_t n_reused = 0;  // prompt tokens that the sequence still held
  double prefill_seconds = 0, decode_seconds = 0;
  size_t n_decode_steps = 0;
};

/// Runs the prompt and samples. Each token goes to on_token as it is picked, the stop token does
/// not. Ctrl-C ends it with Stop::interrupted; the sequence stays usable.
GenerationResult generate(Sequence& sequence, const GenerationRequest& request,
                          const std::function<void(int32_t)>& on_token);

}  // namespace cli
