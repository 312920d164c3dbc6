#include "sampler/selection.h"

#include <set>

#include <catch2/catch.hpp>

#include "sampler/random.h"
#include "unit/sampler/naive.h"

using mm2::Filters;

namespace {

/// Compares many draws of one row with the naive chain: equal sets show as equal tokens at every u.
void agree(const std::vector<float>& logits, const Filters& filters, uint64_t seed) {
  const float greatest = *std::max_element(logits.begin(), logits.end());
  const naive::Kept kept = naive::filter(logits, filters);
  std::vector<mm2::Candidate> scratch;
  CAPTURE(logits.size(), filters.temperature, filters.top_k, filters.top_p, filters.min_p);
  for (uint64_t i = 0; i < 40; ++i) {
    // The ends of [0, 1) too, where a wrong first or last token would show.
    const double u = i == 0 ? 0 : i == 1 ? 1 - 0x1.0p-53 : mm2::uniform(seed, i);
    REQUIRE(mm2::draw(logits, greatest, filters, u, scratch) == naive::draw(kept, u));
  }
}

}  // namespace

TEST_CASE("selection: each filter alone agrees with the naive chain") {
  std::mt19937 random(1);
  for (const size_t n : {1, 2, 7, 100, 5000}) {
    for (const bool with_ties : {false, true}) {
      const auto logits = naive::random_logits(random, n, with_ties);
      for (const double temperature : {0.01, 0.7, 1.0, 50.0}) {
        agree(logits, {.temperature = temperature}, n);
        for (const int32_t k : {1, 2, 40, 1023, 1025, 4999, 5000, 6000})
          agree(logits, {.temperature = temperature, .top_k = k}, n);
        for (const double p : {1e-9, 0.1, 0.5, 0.9, 0.95, 0.999})
          agree(logits, {.temperature = temperature, .top_p = p}, n);
        for (const double p : {1e-6, 0.05, 0.5, 1.0})
          agree(logits, {.temperature = temperature, .min_p = p}, n);
      }
    }
  }
}

TEST_CASE("selection: filters in any combination agree with the naive chain") {
  std::mt19937 random(2);
  const auto pick = [&](auto... values) {
    const std::vector<double> all{static_cast<double>(values)...};
    return all[random() % all.size()];
  };
  for (int round = 0; round < 300; ++round) {
    auto logits = naive::random_logits(random, 1 + random() % 3000, random() % 2 == 0);
    for (float& x : logits) {
      if (random() % 4 == 0) x = -std::numeric_limits<float>::infinity();
    }
    logits[random() % logits.size()] = 1.5f;  // something must be left
    agree(logits,
          {.temperature = pick(0.05, 0.6, 1, 3),
           .top_k = static_cast<int32_t>(pick(0, 1, 5, 40, 1500)),
           .top_p = pick(1, 0.2, 0.8, 0.95, 0.9999),
           .min_p = pick(0, 0.01, 0.3)},
          static_cast<uint64_t>(round));
  }
}

TEST_CASE("selection: the k best come by rank, ties by lower id") {
  std::vector<mm2::Candidate> best;
  const std::vector<float> logits{1, 3, 2, 3, 1, 3};
  mm2::best_k(logits, 4, best);
  std::vector<int32_t> ids;
  for (const auto& candidate : best) ids.push_back(candidate.id);
  CHECK(ids == std::vector<int32_t>{1, 3, 5, 2});

  // The heap and the selection of all give the same ranks.
  std::mt19937 random(3);
  const auto many = naive::random_logits(random, 4000, true);
  std::vector<mm2::Candidate> by_heap, by_selection;
  mm2::best_k(many, 1024, by_heap);
  mm2::best_k(many, 1025, by_selection);
  REQUIRE(by_selection.size() == 1025);
  for (size_t i = 0; i < by_heap.size(); ++i) REQUIRE(by_heap[i].id == by_selection[i].id);
}

TEST_CASE("selection: equal logits over the whole vocabulary") {
  const std::vector<float> flat(3000, -7.25f);
  agree(flat, {}, 4);
  agree(flat, {.top_k = 3}, 4);
  agree(flat, {.top_p = 0.5}, 4);
  agree(flat, {.min_p = 1}, 4);
}

TEST_CASE("selection: logits and temperatures at the edge of their range stay finite") {
  const std::vector<float> huge{3e38f, -3e38f, 2.9e38f, -std::numeric_limits<float>::infinity()};
  for (const double temperature : {1e-38, 1.0, 3e38}) {
    for (const double p : {1.0, 0.9}) agree(huge, {.temperature = temperature, .top_p = p}, 5);
  }
}
