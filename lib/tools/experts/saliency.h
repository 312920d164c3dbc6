// How much each expert of a layer matters, counted over the tokens that were sent to it.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/exact_sum.h"
#include "base/status.h"

namespace mm2 {

enum class SaliencyMethod : uint8_t {
  reap,                    // mean of weight * norm
  frequency,               // tokens
  ean_sum,                 // sum of norms
  ean_mean,                // mean of norms
  weighted_ean_sum,        // sum of weight * norm
  weighted_frequency_sum,  // sum of weights
  reap_l2,                 // root of the mean of (weight * norm)^2; tools differ on this one
  max_activations,         // largest element of an output, with its sign
};

/// "reap", "weighted_expert_frequency_sum" for weighted_frequency_sum, ...
std::optional<SaliencyMethod> saliency_method(std::string_view name);
std::string_view saliency_name(SaliencyMethod method);

/// What was seen of one expert. Norms are L2 norms of its output before the routing weight.
struct ExpertTotals {
  uint64_t n_tokens = 0;
  ExactSum weight;
  ExactSum norm;
  ExactSum weighted_norm;
  ExactSum weighted_square;  // (weight * norm)^2
  double largest_norm = 0;
  double largest_activation = -std::numeric_limits<double>::infinity();
};

/// Sums of one layer. They are exact, so the result does not depend on the order of the tokens or on
/// how they were dealt to several accumulators.
class LayerSaliency {
 public:
  explicit LayerSaliency(int32_t n_experts) : experts_(static_cast<size_t>(n_experts)) {}

  /// One token and the experts that it was sent to. Code::invalid_argument: lengths that differ, an
  /// expert that does not exist or is named twice; Code::numeric: a number that is not finite, a
  /// negative weight or norm. Nothing is added then.
  Status add_token(std::span<const int32_t> experts,      // [top_k]
                   std::span<const double> weights,       // [top_k]
                   std::span<const double> norms,         // [top_k]
                   std::span<const double> activations);  // [top_k], largest element
  Status merge(const LayerSaliency& other);

  uint64_t n_tokens() const { return n_tokens_; }
  int32_t n_experts() const { return static_cast<int32_t>(experts_.size()); }
  const ExpertTotals& expert(int32_t id) const { return experts_[static_cast<size_t>(id)]; }
  /// [n_experts]. Experts without a token have 0.
  std::vector<double> saliency(SaliencyMethod method) const;

 private:
  uint64_t n_tokens_ = 0;
  std::vector<ExpertTotals> experts_;
};

}  // namespace mm2
