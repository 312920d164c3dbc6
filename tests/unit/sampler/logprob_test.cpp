#include <cmath>

#include <catch2/catch.hpp>

#include "sampler/sampler.h"

using mm2::LogprobsOf;
using mm2::Sampler;
using mm2::SamplerOptions;
using mm2::TokenLogprob;

namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

std::vector<TokenLogprob> top_of(SamplerOptions options, const std::vector<float>& logits,
                                 int32_t n) {
  options.n_logprobs = n;
  auto sampler = Sampler::create(options, static_cast<int32_t>(logits.size()));
  REQUIRE(sampler.ok());
  std::vector<TokenLogprob> top(static_cast<size_t>(n) + 1);
  const auto token = (*sampler)->sample(logits, top);
  REQUIRE(token.ok());
  REQUIRE(top[0].token == *token);
  return top;
}

}  // namespace

TEST_CASE("logprobs: raw ones ignore temperature, filters, biases and edits") {
  const std::vector<float> logits{1, 2, 3, 0};
  const double log_sum = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0) + 1);
  SamplerOptions options{.top_k = 1, .temperature = 0.3f, .biases = {{3, 50}}};
  const auto top = top_of(options, logits, 4);
  CHECK(top[0].token == 3);
  CHECK(top[0].logprob == Approx(-log_sum));
  const int32_t ids[] = {2, 1, 0, 3};
  for (size_t i = 0; i < 4; ++i) {
    CHECK(top[i + 1].token == ids[i]);
    CHECK(top[i + 1].logprob == Approx(double{logits[static_cast<size_t>(ids[i])]} - log_sum));
  }
}

TEST_CASE("logprobs: processed ones are those after temperature, before the filters") {
  const std::vector<float> logits{1, 2, 3, 0};
  SamplerOptions options{.top_k = 1, .temperature = 0.5f, .logprobs = LogprobsOf::processed};
  options.biases = {{0, 3}};
  const double log_sum = std::log(std::exp(8.0) + std::exp(4.0) + std::exp(6.0) + 1);
  const auto top = top_of(options, logits, 2);
  CHECK(top[0].token == 0);
  CHECK(top[0].logprob == Approx(8 - log_sum));
  CHECK(top[1].token == 0);
  CHECK(top[2].token == 2);
  CHECK(top[2].logprob == Approx(6 - log_sum));
}

TEST_CASE("logprobs: large logits do not overflow, impossible tokens are not listed") {
  const auto top = top_of({}, {80000, 79999, kNothing, kNothing}, 4);
  const double log_sum = std::log(1 + std::exp(-1.0));
  CHECK(top[0].logprob == Approx(-log_sum));
  CHECK(top[2].logprob == Approx(-1 - log_sum));
  for (const size_t i : {3, 4}) {
    CHECK(top[i].token == -1);
    CHECK(top[i].logprob == kNothing);
  }
}
