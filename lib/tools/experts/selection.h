// From saliencies to the experts that go, and what goes with them.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tools/experts/saliency.h"

namespace mm2 {

/// int(n_experts * ratio), as the tools count.
int32_t n_removed_of_ratio(int32_t n_experts, double ratio);

struct ExpertChoice {
  std::vector<int32_t> kept;     // ascending
  std::vector<int32_t> removed;  // least salient first
  /// (lowest kept - highest removed) / lowest kept: 0 means that a tie was decided by the ids.
  /// Protected experts take no part. Infinity when nothing is removed.
  double gap = 0;
};

/// Removes the n_removed least salient experts, of equal ones the smaller id first, never a protected
/// one. Code::invalid_argument: fewer than top_k would be left, or too few are unprotected;
/// Code::numeric: NaN.
Result<ExpertChoice> choose_experts(std::span<const double> saliency,  // [n_experts]
                                    int32_t n_removed, int32_t top_k,
                                    std::span<const int32_t> protected_experts = {});

/// (layer, expert) of those whose largest activation is above both a tenth of the largest of all and
/// the 99.5th percentile of all: removing one ruins a model. Only the first three quarters of the
/// layers are looked at, unless `all_layers`. Empty for an empty or ragged table.
std::vector<std::pair<int32_t, int32_t>> super_experts(
    std::span<const std::vector<double>> largest_activations,  // [n_layers][n_experts]
    bool all_layers);

/// Shares of a layer that its removed experts bore, each 0..1.
struct RemovedShare {
  double saliency = 0;  // of all weight * norm
  double weight = 0;    // of all routing weights
  double tokens = 0;    // of all pairs of token and expert
};
RemovedShare removed_share(const LayerSaliency& layer, std::span<const int32_t> removed);

}  // namespace mm2
