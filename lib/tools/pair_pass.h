// Two checkpoints side by side: which weights both have, and how far apart each pair is.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "tools/merge/pair_scan.h"
#include "tools/stream/checkpoint_view.h"

namespace mm2 {

struct WeightPair {
  const ViewWeight* a = nullptr;
  const ViewWeight* b = nullptr;
  /// Two plain or two quantised weights of the same parts, whose bytes can be compared.
  bool alike = false;
};

struct PairedViews {
  std::shared_ptr<CheckpointView> a, b;
  std::vector<WeightPair> pairs;  // in the order of A's weights
  std::vector<std::string> only_a, only_b, shapes_differ;
  std::vector<std::string> renumbered;  // routers whose rows are in another order in B

  /// Tensors that lie in files on both sides: a quantised weight is several.
  uint64_t n_tensor_pairs() const;
};

/// [layer][expert of A]: which expert of B it is; -1: none.
using ExpertMap = std::vector<std::vector<int32_t>>;

/// Pairs weights by official name. A tied lm_head is the embedding and no pair of its own. With a map,
/// experts are paired by it; routers, whose rows are in another order then, only where it keeps all in
/// their places.
PairedViews pair_views(std::shared_ptr<CheckpointView> a, std::shared_ptr<CheckpointView> b,
                       const ExpertMap* experts = nullptr);

/// What is kept of one pair.
struct PairRow {
  PairChange change = PairChange::values;
  bool codes_equal = false, scales_equal = false;  // of weights that are alike
  PairFigures figures;                             // its histogram has moved to PairTable::blocks
  double block_p50 = 0, block_p90 = 0, block_p99 = 0;
};

struct PairTable {
  std::vector<PairRow> rows;                   // as PairedViews::pairs
  std::map<std::string, LogHistogram> blocks;  // relative L2 of blocks, by class
};

/// Classes of weights: "w1", "q_proj", "router" ... as reports call them.
std::string pair_class(const ViewWeight& weight);

/// FP8 in blocks: its share of noise; 0 for others.
double quantization_noise(const ViewWeight& weight);

/// One pass over both, pairs in parallel: identical bytes are not looked at further. Takes up to 9
/// MiB for each worker. Figures do not depend on threads. Code::numeric names a NaN with its place;
/// Code::cancelled when host.progress says so.
Result<PairTable> compare_pairs(const PairedViews& views, Executor& executor, const Host& host);

}  // namespace mm2
