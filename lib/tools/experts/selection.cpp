#include "tools/experts/selection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mm2 {

int32_t n_removed_of_ratio(int32_t n_experts, double ratio) {
  const double n = static_cast<double>(n_experts) * ratio;
  return n >= 1 && n <= static_cast<double>(n_experts) ? static_cast<int32_t>(n)
         : n > static_cast<double>(n_experts)          ? n_experts
                                                       : 0;
}

Result<ExpertChoice> choose_experts(std::span<const double> saliency, int32_t n_removed,
                                    int32_t top_k, std::span<const int32_t> protected_experts) {
  const auto n = static_cast<int32_t>(saliency.size());
  if (n_removed < 0 || top_k < 1 || n - n_removed < top_k) {
    return error(Code::invalid_argument, "removing ", n_removed, " of ", n,
                 " experts leaves fewer than the ", top_k, " that a token is sent to");
  }
  std::vector<char> is_protected(saliency.size(), 0);
  for (const int32_t id : protected_experts) {
    if (id < 0 || id >= n) {
      return error(Code::invalid_argument, "protected expert ", id, " does not exist; there are ",
                   n);
    }
    is_protected[static_cast<size_t>(id)] = 1;
  }
  std::vector<int32_t> order;
  for (int32_t id = 0; id < n; ++id) {
    if (std::isnan(saliency[static_cast<size_t>(id)])) {
      return error(Code::numeric, "the saliency of expert ", id, " is NaN");
    }
    if (!is_protected[static_cast<size_t>(id)]) order.push_back(id);
  }
  if (static_cast<int32_t>(order.size()) < n_removed) {
    return error(Code::invalid_argument, "removing ", n_removed, " of ", n, " experts: only ",
                 order.size(), " are not protected");
  }
  const auto of = [&](int32_t id) { return saliency[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return of(a) < of(b); });
  ExpertChoice choice;
  const auto cut = order.begin() + n_removed;
  choice.removed.assign(order.begin(), cut);
  choice.gap = std::numeric_limits<double>::infinity();
  if (n_removed > 0 && cut != order.end()) {
    const double difference = of(*cut) - of(*(cut - 1));
    const double scale = std::max(std::fabs(of(*cut)), std::numeric_limits<double>::min());
    choice.gap = difference == 0 ? 0 : difference / scale;
  }
  std::vector<char> gone(saliency.size(), 0);
  for (const int32_t id : choice.removed) gone[static_cast<size_t>(id)] = 1;
  for (int32_t id = 0; id < n; ++id) {
    if (!gone[static_cast<size_t>(id)]) choice.kept.push_back(id);
  }
  return choice;
}

std::vector<std::pair<int32_t, int32_t>> super_experts(
    std::span<const std::vector<double>> largest_activations, bool all_layers) {
  std::vector<double> sorted;
  for (const std::vector<double>& layer : largest_activations) {
    if (layer.size() != largest_activations.front().size()) return {};
    for (const double value : layer) {
      if (std::isnan(value)) return {};
      sorted.push_back(value);
    }
  }
  if (sorted.empty()) return {};
  std::sort(sorted.begin(), sorted.end());
  const double place = 0.995 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double percentile =
      sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
  const double threshold = std::max(percentile, sorted.back() / 10);
  const size_t n_layers =
      all_layers ? largest_activations.size() : largest_activations.size() * 3 / 4;
  std::vector<std::pair<int32_t, int32_t>> found;
  for (size_t layer = 0; layer < n_layers; ++layer) {
    for (size_t id = 0; id < largest_activations[layer].size(); ++id) {
      if (largest_activations[layer][id] > threshold) {
        found.emplace_back(static_cast<int32_t>(layer), static_cast<int32_t>(id));
      }
    }
  }
  return found;
}

RemovedShare removed_share(const LayerSaliency& layer, std::span<const int32_t> removed) {
  std::vector<char> gone(static_cast<size_t>(layer.n_experts()), 0);
  for (const int32_t id : removed) {
    if (id >= 0 && id < layer.n_experts()) gone[static_cast<size_t>(id)] = 1;
  }
  ExactSum saliency[2], weight[2];
  uint64_t tokens[2] = {0, 0};
  for (int32_t id = 0; id < layer.n_experts(); ++id) {
    const ExpertTotals& totals = layer.expert(id);
    for (int part = 0; part <= gone[static_cast<size_t>(id)]; ++part) {  // 0: all, 1: removed
      saliency[part].merge(totals.weighted_norm);
      weight[part].merge(totals.weight);
      tokens[part] += totals.n_tokens;
    }
  }
  const auto share = [](double part, double whole) { return whole > 0 ? part / whole : 0.0; };
  RemovedShare result;
  result.saliency = share(saliency[1].value(), saliency[0].value());
  result.weight = share(weight[1].value(), weight[0].value());
  result.tokens = share(static_cast<double>(tokens[1]), static_cast<double>(tokens[0]));
  return result;
}

}  // namespace mm2
