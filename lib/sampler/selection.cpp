#include "sampler/selection.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace mm2 {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
constexpr int32_t kHeapLimit = 1024;  // above, a selection of all is cheaper than a heap
constexpr size_t kFirstPrefix = 128;  // ranks sorted at first in search of top-p's end

bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.x > b.x || (a.x == b.x && a.id < b.id);
}

bool id_before(const Candidate& a, const Candidate& b) {
  return a.id < b.id;
}

double weight(float x, float greatest, double temperature) {
  return std::exp((double{x} - double{greatest}) / temperature);
}

double sum_of_weights(std::span<const float> logits, float greatest, double temperature) {
  double sum = 0;
  for (const float x : logits) sum += weight(x, greatest, temperature);
  return sum;
}

/// Everything whose weight may be at least `least`, by rising id.
void at_least(std::span<const float> logits, float greatest, double temperature, double least,
              std::vector<Candidate>& kept) {
  // In logits, and a little lower than exact: the exact tests come later.
  const double bound = double{greatest} + temperature * (std::log(least) - 1e-6);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (double{logits[i]} < bound || logits[i] == kForbidden) continue;
    kept.push_back({logits[i], static_cast<int32_t>(i), weight(logits[i], greatest, temperature)});
  }
}

/// Cuts to the shortest run of ranks whose weights reach `mass`; all if they never do.
void cut_at_mass(std::vector<Candidate>& kept, double mass) {
  double sum = 0;
  size_t sorted = 0;
  for (size_t prefix = kFirstPrefix; sorted < kept.size(); prefix *= 4) {
    const auto first = kept.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto last = kept.begin() + static_cast<std::ptrdiff_t>(std::min(prefix, kept.size()));
    if (last != kept.end()) std::nth_element(first, last, kept.end(), ranks_before);
    std::sort(first, last, ranks_before);
    for (auto candidate = first; candidate != last; ++candidate) {
      sum += candidate->weight;
      ++sorted;
      if (sum >= mass) {
        kept.resize(sorted);
        return;
      }
    }
  }
}

int32_t draw_unfiltered(std::span<const float> logits, float greatest, double temperature,
                        double u) {
  const double target = u * sum_of_weights(logits, greatest, temperature);
  double sum = 0;
  int32_t last = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double w = weight(logits[i], greatest, temperature);
    if (w == 0) continue;
    sum += w;
    last = static_cast<int32_t>(i);
    if (sum > target) break;
  }
  return last;
}

int32_t draw_among(const std::vector<Candidate>& kept, double u) {
  double total = 0;
  for (const Candidate& candidate : kept) total += candidate.weight;
  double sum = 0;
  int32_t last = kept.front().id;
  for (const Candidate& candidate : kept) {
    if (candidate.weight == 0) continue;
    sum += candidate.weight;
    last = candidate.id;
    if (sum > u * total) break;
  }
  return last;
}

}  // namespace

void best_k(std::span<const float> logits, int32_t k, std::vector<Candidate>& best) {
  best.clear();
  const size_t wanted = static_cast<size_t>(k);
  if (k > kHeapLimit) {
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] != kForbidden) best.push_back({logits[i], static_cast<int32_t>(i), 0});
    }
    if (best.size() > wanted) {
      std::nth_element(best.begin(), best.begin() + k, best.end(), ranks_before);
      best.resize(wanted);
    }
  } else if (k > 0) {
    best.reserve(wanted + 1);
    // A heap with the worst rank in front. Ids rise, so an equal logit never replaces another.
    for (size_t i = 0; i < logits.size(); ++i) {
      const bool full = best.size() == wanted;
      if (logits[i] == kForbidden || (full && logits[i] <= best.front().x)) continue;
      if (full) {
        std::pop_heap(best.begin(), best.end(), ranks_before);
        best.pop_back();
      }
      best.push_back({logits[i], static_cast<int32_t>(i), 0});
      std::push_heap(best.begin(), best.end(), ranks_before);
    }
  }
  std::sort(best.begin(), best.end(), ranks_before);
}

double log_sum_exp(std::span<const float> logits, float greatest, double temperature) {
  return double{greatest} / temperature + std::log(sum_of_weights(logits, greatest, temperature));
}

int32_t draw(std::span<const float> logits, float greatest, const Filters& filters, double u,
             std::vector<Candidate>& scratch) {
  const double temperature = filters.temperature;
  const bool nucleus = filters.top_p < 1;
  double total = 0;  // of what top-p takes its share
  scratch.clear();
  if (filters.top_k > 0 && static_cast<size_t>(filters.top_k) < logits.size()) {
    best_k(logits, filters.top_k, scratch);
    std::sort(scratch.begin(), scratch.end(), id_before);
    for (Candidate& candidate : scratch) {
      candidate.weight = weight(candidate.x, greatest, temperature);
      total += candidate.weight;
    }
  } else if (nucleus || filters.min_p > 0) {
    double least = filters.min_p;
    if (nucleus) {
      total = sum_of_weights(logits, greatest, temperature);
      // All weights below this together are less than 1 - top_p of the total, so that top-p ends
      // before it comes to one of them.
      const double n = static_cast<double>(logits.size());
      least = std::max(least, (1 - filters.top_p) * total / n);
    }
    at_least(logits, greatest, temperature, least, scratch);
  } else {
    return draw_unfiltered(logits, greatest, temperature, u);
  }
  if (nucleus) cut_at_mass(scratch, filters.top_p * total);
  std::erase_if(scratch, [&](const Candidate& c) { return c.weight < filters.min_p; });
  std::sort(scratch.begin(), scratch.end(), id_before);
  return draw_among(scratch, u);
}

}  // namespace mm2
