// The filters and the draw once more, by full sorts and in the words of include/mm2/sampler.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "sampler/selection.h"

namespace naive {

inline std::vector<float> random_logits(std::mt19937& random, size_t n, bool with_ties) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(n);
  for (float& x : logits) x = with_ties ? std::round(normal(random)) : normal(random);
  return logits;
}

/// Ids kept, ascending, and their weights.
struct Kept {
  std::vector<int32_t> ids;
  std::vector<double> weights;  // [n_vocab]
};

inline Kept filter(const std::vector<float>& logits, const mm2::Filters& filters) {
  const float greatest = *std::max_element(logits.begin(), logits.end());
  Kept kept;
  for (const float x : logits)
    kept.weights.push_back(std::exp((double{x} - double{greatest}) / filters.temperature));
  std::vector<int32_t> rank;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isfinite(logits[i])) rank.push_back(static_cast<int32_t>(i));
  }
  const auto x = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(rank.begin(), rank.end(), [&](int32_t a, int32_t b) { return x(a) > x(b); });
  if (filters.top_k > 0 && static_cast<size_t>(filters.top_k) < rank.size())
    rank.resize(static_cast<size_t>(filters.top_k));

  std::vector<int32_t> by_id = rank;
  std::sort(by_id.begin(), by_id.end());
  double total = 0, sum = 0;
  for (const int32_t id : by_id) total += kept.weights[static_cast<size_t>(id)];
  for (const int32_t id : rank) {
    const double w = kept.weights[static_cast<size_t>(id)];
    if (filters.top_p < 1 && sum >= filters.top_p * total) break;
    sum += w;
    if (w >= filters.min_p) kept.ids.push_back(id);
  }
  std::sort(kept.ids.begin(), kept.ids.end());
  return kept;
}

inline int32_t draw(const Kept& kept, double u) {
  double total = 0, sum = 0;
  for (const int32_t id : kept.ids) total += kept.weights[static_cast<size_t>(id)];
  for (const int32_t id : kept.ids) {
    sum += kept.weights[static_cast<size_t>(id)];
    if (sum > u * total) return id;
  }
  return -1;
}

}  // namespace naive
