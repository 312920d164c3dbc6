// The routers of two checkpoints, matched layer by layer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "base/json.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "quant/quant_config.h"
#include "tensor/role.h"
#include "tools/experts/mask.h"
#include "tools/experts/matching.h"

namespace mm2 {

/// Every layer's router and router bias of a checkpoint, whatever its experts are stored as.
class Routers {
 public:
  /// Code::format when a router is missing or not plain.
  static Result<Routers> open(const std::string& path, const Host& host);

  const ModelConfig& config() const { return config_; }
  const std::string& path() const { return path_; }
  Result<std::vector<float>> rows(int32_t layer) const;  // [n_experts, hidden]
  Result<std::vector<float>> bias(int32_t layer) const;  // [n_experts]
  /// The first rows of a weight of an expert, at most `n_rows`, as F32: [rows, columns].
  Result<std::vector<float>> rows_of(Role role, int32_t layer, int32_t expert,
                                     int64_t n_rows) const;
  /// XXH3 of all routers, as F32.
  Result<std::string> digest() const;

 private:
  std::string path_;
  ModelConfig config_;
  QuantConfig quant_;
  std::shared_ptr<Checkpoint> source_;
};

/// How much an expert of the reference is like its partner: cosines, see expert_sketches.h.
struct Likeness {
  double likeness = 0;
  int32_t runner_up = -1;  // the most alike of the other originals; -1 where there is none
  double runner_up_likeness = 0;
};

struct MatchedModel {
  ExpertMask mask;  // whole only when the verdict is ok
  std::vector<ExpertMatch> layers;
  std::vector<double> equal_bias;                 // share of pairs whose router biases are equal
  std::vector<std::vector<Likeness>> by_weights;  // [n_layers][pairs], where they were compared
  bool ascending = true;                          // in every layer
  Status verdict;                                 // the first layer that is not certain
};

/// Code::check_failed where the two cannot belong together (layers, hidden sizes, NaN ...).
Result<MatchedModel> match_models(const Routers& original, const Routers& reference,
                                  const MatchOptions& options, Executor& executor);

/// {"layers": n, "deleted_per_layer", "smallest_margin", ..., "by_layer": [...]}; with by_weights also
/// "least_likeness"
Json match_report(const MatchedModel& matched);

/// The rich side-car of a mask: for each layer ids, costs and margins; what was compared.
Result<Json> match_details(const Routers& original, const Routers& reference,
                           const MatchedModel& matched);

}  // namespace mm2
