// From a row of logits to a token: the chain of include/mm2/sampler.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "sampler/history.h"
#include "sampler/selection.h"

namespace mm2 {

struct LogitBias {
  int32_t token;
  float bias;
};

struct TokenLogprob {
  int32_t token;
  float logprob;
};

enum class LogprobsOf : int32_t { raw = 0, processed = 1 };

/// 0 means "off" or the default in every field.
struct SamplerOptions {
  int32_t top_k = 0;
  float temperature = 0;  // 0 = greedy
  float top_p = 0;
  float min_p = 0;
  float repetition_penalty = 0;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  int32_t penalty_window = 0;  // tokens; 0 = all
  int32_t n_logprobs = 0;
  int32_t n_tokens = 0;  // ids from here on are never chosen; 0 = n_vocab
  LogprobsOf logprobs = LogprobsOf::raw;
  uint64_t seed = 0;
  std::vector<LogitBias> biases = {};
  std::function<void(std::span<float>)> edit_logits = {};  // must not throw
};

/// One per sequence, one thread at a time.
class Sampler {
 public:
  /// invalid_argument names the field, the value and its range.
  static Result<std::unique_ptr<Sampler>> create(SamplerOptions options, int32_t n_vocab);

  std::unique_ptr<Sampler> clone() const { return std::unique_ptr<Sampler>(new Sampler(*this)); }

  /// Picks a token from logits [n_vocab]. `top` is empty or [1 + n_logprobs]: the token chosen,
  /// then the most likely ones by rank; where there are none left, token -1. Code::numeric for NaN,
  /// +infinity or when every token is forbidden; sampler and top are as before then.
  Result<int32_t> sample(std::span<const float> logits, std::span<TokenLogprob> top);

  /// A token of the output enters the history that penalties look at.
  Status accept(int32_t token);
  /// Tokens of the prompt do: all or none. They count for the repetition penalty only.
  Status accept_prompt(std::span<const int32_t> tokens);

  void set_seed(uint64_t seed);
  void reset();

  int32_t n_vocab() const { return n_vocab_; }
  int32_t n_logprobs() const { return options_.n_logprobs; }

 private:
  Sampler(SamplerOptions options, int32_t n_vocab);
  Sampler(const Sampler&) = default;
  Status check_token(int32_t token) const;
  std::span<const float> process(std::span<const float> logits);
  void report(std::span<const float> raw, float raw_greatest, std::span<const float> processed,
              float greatest, int32_t chosen, std::span<TokenLogprob> top);

  SamplerOptions options_;  // with defaults made explicit
  int32_t n_vocab_;
  Penalties penalties_;
  Filters filters_;
  History history_;
  uint64_t n_draws_ = 0;
  std::vector<float> edited_;       // [n_vocab], or empty while nothing edits logits
  std::vector<Candidate> scratch_;  // memory that is kept from call to call
};

}  // namespace mm2
