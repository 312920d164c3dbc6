#include "sampler/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "sampler/random.h"

namespace mm2 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Status out_of_range(const char* field, double seen, const char* wanted) {
  return error(Code::invalid_argument, "sampler options: ", field, " is ", seen, ", must be ",
               wanted);
}

Status check_numbers(const SamplerOptions& o) {
  // Written so that NaN fails every one of them.
  if (!(o.temperature >= 0 && o.temperature < kInfinity))
    return out_of_range("temperature", o.temperature, "finite and not negative");
  if (!(o.top_p >= 0 && o.top_p <= 1)) return out_of_range("top_p", o.top_p, "in [0, 1]");
  if (!(o.min_p >= 0 && o.min_p <= 1)) return out_of_range("min_p", o.min_p, "in [0, 1]");
  if (!(o.repetition_penalty >= 0 && o.repetition_penalty < kInfinity))
    return out_of_range("repetition_penalty", o.repetition_penalty, "finite and not negative");
  if (!std::isfinite(o.frequency_penalty))
    return out_of_range("frequency_penalty", o.frequency_penalty, "finite");
  if (!std::isfinite(o.presence_penalty))
    return out_of_range("presence_penalty", o.presence_penalty, "finite");
  if (o.top_k < 0) return out_of_range("top_k", o.top_k, "0 or more");
  if (o.penalty_window < 0) return out_of_range("penalty_window", o.penalty_window, "0 or more");
  if (o.logprobs != LogprobsOf::raw && o.logprobs != LogprobsOf::processed)
    return out_of_range("logprobs", static_cast<int32_t>(o.logprobs), "0 or 1");
  return {};
}

Status check_ids(const SamplerOptions& o, int32_t n_vocab) {
  if (n_vocab < 1) return out_of_range("n_vocab", n_vocab, "1 or more");
  if (o.n_logprobs < 0 || o.n_logprobs > n_vocab)
    return out_of_range("n_logprobs", o.n_logprobs, "from 0 to n_vocab");
  if (o.n_tokens < 0 || o.n_tokens > n_vocab)
    return out_of_range("n_tokens", o.n_tokens, "from 0 to n_vocab");
  absl::flat_hash_set<int32_t> seen;
  for (const LogitBias& bias : o.biases) {
    if (bias.token < 0 || bias.token >= n_vocab)
      return out_of_range("token of a bias", bias.token, "in [0, n_vocab)");
    if (std::isnan(bias.bias) || bias.bias == kInfinity)
      return out_of_range("bias", bias.bias, "finite or -infinity");
    if (!seen.insert(bias.token).second)
      return error(Code::invalid_argument, "sampler options: two biases for token ", bias.token);
  }
  return {};
}

/// The greatest logit and where it is first.
struct Greatest {
  float x = -kInfinity;
  int32_t id = -1;
};

Status not_finite(std::span<const float> x, const char* which) {
  const auto bad = std::find_if(x.begin(), x.end(), [](float v) { return !(v < kInfinity); });
  return error(Code::numeric, which, " of token ", bad - x.begin(), " is ",
               std::isnan(*bad) ? "NaN" : "+infinity");
}

/// Code::numeric for NaN and +infinity in x [n], naming the token.
Result<Greatest> greatest_of(std::span<const float> x, const char* which) {
  constexpr size_t kLanes = 16;  // independent, so that the compiler can work on several at once
  float greatest[kLanes];
  int32_t is_bad[kLanes] = {};
  std::fill_n(greatest, kLanes, -kInfinity);
  const size_t n_whole = x.size() / kLanes * kLanes;
  for (size_t i = 0; i < n_whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float v = x[i + lane];
      greatest[lane] = v > greatest[lane] ? v : greatest[lane];
      is_bad[lane] |= v < kInfinity ? 0 : 1;
    }
  }
  for (size_t i = n_whole; i < x.size(); ++i) {
    greatest[0] = std::max(greatest[0], x[i]);
    is_bad[0] |= x[i] < kInfinity ? 0 : 1;
  }
  if (std::any_of(is_bad, is_bad + kLanes, [](int32_t bad) { return bad != 0; }))
    return not_finite(x, which);
  const float most = *std::max_element(greatest, greatest + kLanes);
  if (most == -kInfinity) return Greatest{};
  return Greatest{most, static_cast<int32_t>(std::find(x.begin(), x.end(), most) - x.begin())};
}

}  // namespace

Result<std::unique_ptr<Sampler>> Sampler::create(SamplerOptions options, int32_t n_vocab) {
  MM2_RETURN_IF_ERROR(check_numbers(options));
  MM2_RETURN_IF_ERROR(check_ids(options, n_vocab));
  if (options.n_tokens == 0) options.n_tokens = n_vocab;
  return std::unique_ptr<Sampler>(new Sampler(std::move(options), n_vocab));
}

Sampler::Sampler(SamplerOptions options, int32_t n_vocab)
    : options_(std::move(options)), n_vocab_(n_vocab), history_(options_.penalty_window) {
  penalties_ = {options_.repetition_penalty == 0 ? 1 : options_.repetition_penalty,
                options_.frequency_penalty, options_.presence_penalty};
  filters_ = {options_.temperature, options_.top_k, options_.top_p == 0 ? 1 : options_.top_p,
              options_.min_p};
  const bool edits = options_.edit_logits || penalties_.active() || !options_.biases.empty();
  if (edits) edited_.resize(static_cast<size_t>(n_vocab));
}

std::span<const float> Sampler::process(std::span<const float> logits) {
  const auto n_tokens = static_cast<size_t>(options_.n_tokens);
  if (edited_.empty()) return logits.first(n_tokens);
  std::copy(logits.begin(), logits.end(), edited_.begin());
  if (options_.edit_logits) options_.edit_logits(edited_);
  history_.penalize(penalties_, edited_);
  for (const LogitBias& bias : options_.biases)
    edited_[static_cast<size_t>(bias.token)] += bias.bias;
  return std::span<const float>(edited_).first(n_tokens);
}

Result<int32_t> Sampler::sample(std::span<const float> logits, std::span<TokenLogprob> top) {
  MM2_ASSIGN_OR_RETURN(const Greatest raw, greatest_of(logits, "the logit"));
  const std::span<const float> x = process(logits);
  Greatest greatest = raw;
  if (x.data() != logits.data() || x.size() != logits.size()) {
    MM2_ASSIGN_OR_RETURN(greatest, greatest_of(x, "after edits, penalties and biases the logit"));
  }
  if (greatest.id < 0)
    return error(Code::numeric, "every token is forbidden: all logits are -infinity");

  int32_t token = greatest.id;
  if (options_.temperature > 0)
    token = draw(x, greatest.x, filters_, uniform(options_.seed, n_draws_), scratch_);
  if (!top.empty()) report(logits, raw.x, x, greatest.x, token, top);
  ++n_draws_;
  return token;
}

void Sampler::report(std::span<const float> raw, float raw_greatest,
                     std::span<const float> processed, float greatest, int32_t chosen,
                     std::span<TokenLogprob> top) {
  const bool of_raw = options_.logprobs == LogprobsOf::raw;
  const std::span<const float> x = of_raw ? raw : processed;
  const double temperature = of_raw || options_.temperature == 0 ? 1 : options_.temperature;
  const float greatest_x = of_raw ? raw_greatest : greatest;
  // Raw logits may all be -infinity when a callback wrote others: nothing has a probability then.
  const double log_sum = greatest_x == -kInfinity ? 0 : log_sum_exp(x, greatest_x, temperature);
  const auto logprob = [&](float logit) {
    return static_cast<float>(double{logit} / temperature - log_sum);
  };
  best_k(x, options_.n_logprobs, scratch_);
  top[0] = {chosen, logprob(x[static_cast<size_t>(chosen)])};
  for (size_t i = 1; i < top.size(); ++i) {
    top[i] = i <= scratch_.size() ? TokenLogprob{scratch_[i - 1].id, logprob(scratch_[i - 1].x)}
                                  : TokenLogprob{-1, -kInfinity};
  }
}

Status Sampler::check_token(int32_t token) const {
  if (token >= 0 && token < n_vocab_) return {};
  return error(Code::invalid_argument, "token ", token, " is outside [0, ", n_vocab_, ")");
}

Status Sampler::accept(int32_t token) {
  MM2_RETURN_IF_ERROR(check_token(token));
  if (penalties_.active()) history_.add(token, false);
  return {};
}

Status Sampler::accept_prompt(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) MM2_RETURN_IF_ERROR(check_token(token));
  if (!penalties_.active()) return {};
  History longer = history_;
  for (const int32_t token : tokens) longer.add(token, true);
  history_ = std::move(longer);
  return {};
}

void Sampler::set_seed(uint64_t seed) {
  options_.seed = seed;
  n_draws_ = 0;
}

void Sampler::reset() {
  history_.clear();
  n_draws_ = 0;
}

}  // namespace mm2
