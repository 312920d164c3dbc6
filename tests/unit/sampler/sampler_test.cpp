#include "sampler/sampler.h"

#include <cmath>
#include <string>

#include <catch2/catch.hpp>

#include "sampler/random.h"
#include "unit/sampler/naive.h"

using mm2::Code;
using mm2::Sampler;
using mm2::SamplerOptions;

namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

std::unique_ptr<Sampler> make(const SamplerOptions& options, size_t n_vocab) {
  auto sampler = Sampler::create(options, static_cast<int32_t>(n_vocab));
  REQUIRE(sampler.ok());
  return *std::move(sampler);
}

int32_t sample(Sampler& sampler, const std::vector<float>& logits) {
  auto token = sampler.sample(logits, {});
  REQUIRE(token.ok());
  return *token;
}

std::vector<int32_t> sample_many(Sampler& sampler, const std::vector<float>& logits, int n) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(sample(sampler, logits));
  return tokens;
}

}  // namespace

TEST_CASE("sampler: greedy takes the greatest logit, ties to the lower id") {
  auto sampler = make({}, 5);
  CHECK(sample(*sampler, {1, 4, 2, 4, 3}) == 1);
  CHECK(sample(*sampler, {-5, -4, kNothing, -3, -3}) == 3);
}

TEST_CASE("sampler: the same seed gives the same tokens, another seed others") {
  std::mt19937 random(1);
  const auto logits = naive::random_logits(random, 1000, false);
  const SamplerOptions options{.top_k = 40, .temperature = 1, .top_p = 0.95f, .seed = 7};
  auto a = make(options, 1000), b = make(options, 1000);
  const auto tokens = sample_many(*a, logits, 200);
  CHECK(sample_many(*b, logits, 200) == tokens);
  b->set_seed(8);
  CHECK(sample_many(*b, logits, 200) != tokens);
  b->set_seed(7);
  CHECK(sample_many(*b, logits, 200) == tokens);
  a->reset();
  CHECK(sample_many(*a, logits, 200) == tokens);
}

TEST_CASE("sampler: draw i is the pure function of seed and i that the header states") {
  const std::vector<float> flat(1 << 10, 0.0f);
  auto sampler = make({.temperature = 1, .seed = 42}, flat.size());
  // Equal weights: the running sum exceeds u * n first at floor(u * n).
  for (uint64_t i = 0; i < 500; ++i)
    REQUIRE(sample(*sampler, flat) == static_cast<int32_t>(mm2::uniform(42, i) * 1024));
}

TEST_CASE("sampler: a clone goes on where its origin stands, independently") {
  std::mt19937 random(2);
  const auto logits = naive::random_logits(random, 300, false);
  auto origin = make({.temperature = 1, .frequency_penalty = 2, .seed = 3}, 300);
  for (const int32_t token : sample_many(*origin, logits, 10)) REQUIRE(origin->accept(token).ok());
  auto copy = origin->clone();
  const auto next = sample_many(*origin, logits, 50);
  REQUIRE(origin->accept(next[0]).ok());
  CHECK(sample_many(*copy, logits, 50) == next);
}

// 100,000 draws over 8 tokens. If the sampler is right, the statistic follows chi-square with 7
// degrees of freedom, which exceeds 29.9 with probability 1e-4; the seed is fixed, so the outcome
// is too. A sampler that is off by 2 % of any one probability below would come out far above.
TEST_CASE("sampler: tokens come as often as their probability says") {
  const std::vector<float> logits{0.0f, 1.0f, -1.0f, 0.5f, 2.0f, -0.5f, 1.5f, 0.25f};
  const float temperature = 1.3f;
  const int n = 100000;
  double total = 0;
  for (const float x : logits) total += std::exp(double{x} / double{temperature});
  for (const float top_p : {1.0f, 0.999999f}) {  // unfiltered and filtered draws
    auto sampler = make({.temperature = temperature, .top_p = top_p, .seed = 1234}, logits.size());
    std::vector<double> seen(logits.size());
    for (const int32_t token : sample_many(*sampler, logits, n)) seen[static_cast<size_t>(token)]++;
    double chi_square = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      const double expected = n * std::exp(double{logits[i]} / double{temperature}) / total;
      chi_square += (seen[i] - expected) * (seen[i] - expected) / expected;
    }
    CHECK(chi_square < 29.9);
    CHECK(chi_square > 0.2);  // as unlikely on the other side: too even is wrong as well
  }
}

TEST_CASE("sampler: NaN and infinity are an error of this call only") {
  auto sampler = make({.temperature = 1, .seed = 5}, 4);
  const std::vector<float> good{1, 2, 3, 2.5f};
  auto twin = sampler->clone();
  std::vector<mm2::TokenLogprob> top(1, {-7, 0.5f});
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> row{1, 2, bad, 3};
    const auto token = sampler->sample(row, top);
    REQUIRE_FALSE(token.ok());
    CHECK(token.status().code() == Code::numeric);
    CHECK(token.status().message().find("token 2") != std::string::npos);
    CHECK(top[0].token == -7);
  }
  CHECK(sampler->sample(std::vector<float>(4, kNothing), {}).status().code() == Code::numeric);
  CHECK(sample_many(*sampler, good, 20) == sample_many(*twin, good, 20));
}

TEST_CASE("sampler: ids without a name are never chosen") {
  auto greedy = make({.n_tokens = 3}, 5);
  CHECK(sample(*greedy, {1, 3, 2, 9, 9}) == 1);
  auto warm = make({.temperature = 1, .n_tokens = 3, .seed = 1}, 5);
  for (const int32_t token : sample_many(*warm, {1, 3, 2, 9, 9}, 200)) CHECK(token < 3);
  CHECK(
      greedy->sample(std::vector<float>{kNothing, kNothing, kNothing, 1, 1}, {}).status().code() ==
      Code::numeric);
}

TEST_CASE("sampler: the host's edit comes first and works on a copy") {
  const std::vector<float> logits{1, 5, 2, 4};
  SamplerOptions options;
  options.edit_logits = [](std::span<float> x) {
    REQUIRE(x.size() == 4);
    REQUIRE(x[1] == 5);  // neither bias nor penalty has been here
    x[1] = kNothing;
  };
  options.biases = {{2, 3.5f}, {1, 100}};
  auto sampler = make(options, 4);
  CHECK(sample(*sampler, logits) == 2);
  CHECK(logits[1] == 5);
}

TEST_CASE("sampler: a bias can forbid and can force") {
  auto forbid = make({.biases = {{1, kNothing}}}, 3);
  CHECK(sample(*forbid, {1, 9, 2}) == 2);
  auto force = make({.temperature = 1, .biases = {{0, 100}}}, 3);
  for (const int32_t token : sample_many(*force, {1, 9, 2}, 50)) CHECK(token == 0);
}

TEST_CASE("sampler: options out of range are refused by name") {
  const float nan = std::nanf("");
  const auto refused = [](const SamplerOptions& options, const std::string& field) {
    const auto sampler = Sampler::create(options, 10);
    REQUIRE_FALSE(sampler.ok());
    CHECK(sampler.status().code() == Code::invalid_argument);
    CHECK(sampler.status().message().find(field) != std::string::npos);
  };
  for (const float bad : {nan, -1.0f, std::numeric_limits<float>::infinity()}) {
    refused({.temperature = bad}, "temperature");
    refused({.top_p = bad}, "top_p");
    refused({.min_p = bad}, "min_p");
    refused({.repetition_penalty = bad}, "repetition_penalty");
  }
  refused({.top_p = 1.01f}, "top_p");
  refused({.frequency_penalty = nan}, "frequency_penalty");
  refused({.presence_penalty = kNothing}, "presence_penalty");
  refused({.top_k = -1}, "top_k");
  refused({.penalty_window = -1}, "penalty_window");
  refused({.n_logprobs = 11}, "n_logprobs");
  refused({.n_tokens = 11}, "n_tokens");
  refused({.biases = {{10, 1}}}, "token of a bias");
  refused({.biases = {{1, nan}}}, "bias");
  refused({.biases = {{1, 1}, {1, 2}}}, "two biases for token 1");
  CHECK(Sampler::create({}, 0).status().code() == Code::invalid_argument);
}
