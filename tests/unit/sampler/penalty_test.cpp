#include <catch2/catch.hpp>

#include "sampler/sampler.h"

using mm2::Sampler;
using mm2::SamplerOptions;

namespace {

std::unique_ptr<Sampler> make(const SamplerOptions& options) {
  auto sampler = Sampler::create(options, 6);
  REQUIRE(sampler.ok());
  return *std::move(sampler);
}

/// The logits as penalties leave them: a later edit cannot be seen, so they are read off processed
/// logprobs, which differ from logits by a constant.
std::vector<float> differences(Sampler& sampler, const std::vector<float>& logits) {
  std::vector<mm2::TokenLogprob> top(7);
  REQUIRE(sampler.sample(logits, top).ok());
  std::vector<float> by_id(6);
  for (size_t i = 1; i < top.size(); ++i) by_id[static_cast<size_t>(top[i].token)] = top[i].logprob;
  const float base = by_id[5];  // never accepted below
  for (float& x : by_id) x -= base;
  return by_id;
}

void close(const std::vector<float>& seen, const std::vector<float>& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) CHECK(seen[i] == Approx(wanted[i]).margin(1e-5));
}

SamplerOptions watched() {
  return {.n_logprobs = 6, .logprobs = mm2::LogprobsOf::processed};
}

const std::vector<float> kLogits{2, -2, 1, 0.5f, -1, 0};

}  // namespace

TEST_CASE("penalties: repetition divides positive logits and multiplies negative ones") {
  SamplerOptions options = watched();
  options.repetition_penalty = 2;
  auto sampler = make(options);
  const std::vector<int32_t> prompt{0};
  REQUIRE(sampler->accept_prompt(prompt).ok());
  REQUIRE(sampler->accept(1).ok());
  REQUIRE(sampler->accept(1).ok());  // how often does not matter
  close(differences(*sampler, kLogits), {1, -4, 1, 0.5f, -1, 0});
}

TEST_CASE(
    "penalties: frequency counts the output, presence sees it once, neither sees the prompt") {
  SamplerOptions options = watched();
  options.frequency_penalty = 0.5f;
  options.presence_penalty = 0.25f;
  auto sampler = make(options);
  const std::vector<int32_t> prompt{0, 3, 3};
  REQUIRE(sampler->accept_prompt(prompt).ok());
  for (const int32_t token : {2, 2, 2, 3}) REQUIRE(sampler->accept(token).ok());
  close(differences(*sampler, kLogits), {2, -2, 1 - 1.5f - 0.25f, 0.5f - 0.75f, -1, 0});
}

TEST_CASE("penalties: only the window counts, reset empties it") {
  SamplerOptions options = watched();
  options.frequency_penalty = 1;
  options.penalty_window = 3;
  auto sampler = make(options);
  const std::vector<int32_t> prompt{4};
  REQUIRE(sampler->accept_prompt(prompt).ok());
  for (const int32_t token : {0, 1, 1, 2}) REQUIRE(sampler->accept(token).ok());
  close(differences(*sampler, kLogits), {2, -4, 0, 0.5f, -1, 0});
  REQUIRE(sampler->accept(3).ok());
  close(differences(*sampler, kLogits), {2, -3, 0, -0.5f, -1, 0});
  sampler->reset();
  close(differences(*sampler, kLogits), kLogits);
}

TEST_CASE("penalties: negative ones encourage") {
  SamplerOptions options = watched();
  options.frequency_penalty = -1;
  auto sampler = make(options);
  REQUIRE(sampler->accept(3).ok());
  close(differences(*sampler, kLogits), {2, -2, 1, 1.5f, -1, 0});
}

TEST_CASE("penalties: tokens outside the vocabulary are refused, a prompt as a whole") {
  SamplerOptions options = watched();
  options.repetition_penalty = 2;
  auto sampler = make(options);
  CHECK(sampler->accept(6).code() == mm2::Code::invalid_argument);
  CHECK(sampler->accept(-1).code() == mm2::Code::invalid_argument);
  const std::vector<int32_t> prompt{0, 1, 6};
  CHECK(sampler->accept_prompt(prompt).code() == mm2::Code::invalid_argument);
  close(differences(*sampler, kLogits), kLogits);
}
