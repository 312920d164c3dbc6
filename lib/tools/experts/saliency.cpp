#include "tools/experts/saliency.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace mm2 {

namespace {

constexpr std::array<std::pair<std::string_view, SaliencyMethod>, 9> kNames = {{
    {"reap", SaliencyMethod::reap},
    {"frequency", SaliencyMethod::frequency},
    {"ean_sum", SaliencyMethod::ean_sum},
    {"ean_mean", SaliencyMethod::ean_mean},
    {"weighted_ean_sum", SaliencyMethod::weighted_ean_sum},
    {"weighted_frequency_sum", SaliencyMethod::weighted_frequency_sum},
    {"weighted_expert_frequency_sum", SaliencyMethod::weighted_frequency_sum},
    {"reap_l2", SaliencyMethod::reap_l2},
    {"max_activations", SaliencyMethod::max_activations},
}};

// Above it squares might leave the range in which sums are exact.
constexpr double kLargest = 1e140;

}  // namespace

std::optional<SaliencyMethod> saliency_method(std::string_view name) {
  for (const auto& [known, method] : kNames) {
    if (known == name) return method;
  }
  return std::nullopt;
}

std::string_view saliency_name(SaliencyMethod method) {
  for (const auto& [name, known] : kNames) {
    if (known == method) return name;
  }
  return {};
}

Status LayerSaliency::add_token(std::span<const int32_t> experts, std::span<const double> weights,
                                std::span<const double> norms,
                                std::span<const double> activations) {
  if (weights.size() != experts.size() || norms.size() != experts.size() ||
      activations.size() != experts.size()) {
    return error(Code::invalid_argument, "saliency: ", experts.size(), " experts, ", weights.size(),
                 " weights, ", norms.size(), " norms and ", activations.size(),
                 " activations do not fit");
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    if (experts[i] < 0 || experts[i] >= n_experts()) {
      return error(Code::invalid_argument, "saliency: expert ", experts[i],
                   " does not exist; the layer has ", n_experts());
    }
    if (std::find(experts.begin(), experts.begin() + static_cast<ptrdiff_t>(i), experts[i]) !=
        experts.begin() + static_cast<ptrdiff_t>(i)) {
      return error(Code::invalid_argument, "saliency: a token was sent to expert ", experts[i],
                   " twice");
    }
    if (!(weights[i] >= 0 && weights[i] <= kLargest && norms[i] >= 0 && norms[i] <= kLargest &&
          weights[i] * norms[i] <= kLargest && std::isfinite(activations[i]))) {
      return error(Code::numeric, "saliency: expert ", experts[i], " has weight ", weights[i],
                   ", norm ", norms[i], ", largest activation ", activations[i]);
    }
  }
  ++n_tokens_;
  for (size_t i = 0; i < experts.size(); ++i) {
    ExpertTotals& totals = experts_[static_cast<size_t>(experts[i])];
    const double weighted = weights[i] * norms[i];
    ++totals.n_tokens;
    totals.weight.add(weights[i]);
    totals.norm.add(norms[i]);
    totals.weighted_norm.add(weighted);
    totals.weighted_square.add(weighted * weighted);
    totals.largest_norm = std::max(totals.largest_norm, norms[i]);
    totals.largest_activation = std::max(totals.largest_activation, activations[i]);
  }
  return {};
}

Status LayerSaliency::merge(const LayerSaliency& other) {
  if (other.n_experts() != n_experts()) {
    return error(Code::invalid_argument, "saliency: a layer of ", other.n_experts(),
                 " experts cannot be merged into one of ", n_experts());
  }
  n_tokens_ += other.n_tokens_;
  for (size_t i = 0; i < experts_.size(); ++i) {
    ExpertTotals& mine = experts_[i];
    const ExpertTotals& theirs = other.experts_[i];
    mine.n_tokens += theirs.n_tokens;
    mine.weight.merge(theirs.weight);
    mine.norm.merge(theirs.norm);
    mine.weighted_norm.merge(theirs.weighted_norm);
    mine.weighted_square.merge(theirs.weighted_square);
    mine.largest_norm = std::max(mine.largest_norm, theirs.largest_norm);
    mine.largest_activation = std::max(mine.largest_activation, theirs.largest_activation);
  }
  return {};
}

std::vector<double> LayerSaliency::saliency(SaliencyMethod method) const {
  std::vector<double> result;
  result.reserve(experts_.size());
  for (const ExpertTotals& totals : experts_) {
    const auto n = static_cast<double>(std::max<uint64_t>(1, totals.n_tokens));
    const auto value = [&]() -> double {
      switch (method) {
        case SaliencyMethod::reap:
          return totals.weighted_norm.value() / n;
        case SaliencyMethod::frequency:
          return static_cast<double>(totals.n_tokens);
        case SaliencyMethod::ean_sum:
          return totals.norm.value();
        case SaliencyMethod::ean_mean:
          return totals.norm.value() / n;
        case SaliencyMethod::weighted_ean_sum:
          return totals.weighted_norm.value();
        case SaliencyMethod::weighted_frequency_sum:
          return totals.weight.value();
        case SaliencyMethod::reap_l2:
          return std::sqrt(totals.weighted_square.value() / n);
        case SaliencyMethod::max_activations:
          return totals.largest_activation;
      }
      return 0;
    }();
    result.push_back(totals.n_tokens == 0 ? 0 : value);
  }
  return result;
}

}  // namespace mm2
