// Which expert of one model is which expert of another, found by the rows of their routers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace mm2 {

/// The router of one layer, widened to F32.
struct RouterRows {
  std::span<const float> values;  // [n_experts, hidden]
  int32_t n_experts = 0;
  int32_t hidden = 0;
};

struct MatchOptions {
  /// Least exchange margin of a pair that is not an exact copy. Noise of rows that belong together
  /// stays far above it, rows of unrelated routers below.
  double min_margin = 0.02;
  /// Largest cosine distance of a pair.
  double max_cost = 0.3;
};

/// What is known of one expert of the reference.
struct ExpertPair {
  int32_t original = -1;
  bool exact = false;          // the rows are equal, number for number
  bool certain = false;        // exact, or within both limits by plain or by centred cosine
  bool mutual = false;         // each is the nearest of the other
  double cost = 0;             // cosine distance, F64
  int32_t runner_up = -1;      // the nearest other original; -1 when there is none
  double margin = 0;           // its cost minus this one's (infinity when there is none)
  double column_margin = 0;    // the same among the other rows of the reference
  double exchange_margin = 0;  // what the best assignment without this pair costs more
  double centred_cost = 0;     // cosine distance after taking off the mean row of the original
  double centred_margin = 0;  // exchange margin in centred costs; negative: they prefer another one
};

struct ExpertMatch {
  std::vector<ExpertPair> pairs;  // by expert of the reference
  std::vector<int32_t> deleted;   // originals without a partner, ascending
  /// Whether the reference keeps the order of the original: only then does the list of deleted
  /// experts describe it, since those that stay are renumbered in ascending order.
  bool ascending = true;
  double total_cost = 0;
  double smallest_margin =
      0;  // exchange margin of the weakest pair that is not exact; infinity if all are
  /// Ok when every pair is certain; else Code::check_failed, naming the experts.
  Status verdict;
};

/// Equal rows are paired first; the others by the assignment of least total cosine distance. Rows
/// that share a large common part have small cosine distances throughout, so a pair may also be
/// certain by centred cosine (which in turn fails where rows were rescaled).
/// Code::check_failed: a reference that is empty, larger than the original or of another width, NaN
/// or infinity, a row of zeros, equal rows of which only some were kept: no match is possible.
Result<ExpertMatch> match_experts(const RouterRows& original, const RouterRows& reference,
                                  const MatchOptions& options);

}  // namespace mm2
