#include "tools/routers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "format/names.h"
#include "quant/dequantize.h"
#include "quant/quant_config.h"
#include "quant/scheme.h"
#include "tools/stream/hash.h"

namespace mm2 {
namespace {

struct LayerResult {
  Status status;
  ExpertMatch match;
  double equal_bias = 0;
};

LayerResult match_layer(const Routers& original, const Routers& reference, int32_t layer,
                        const MatchOptions& options) {
  LayerResult result;
  const auto run = [&]() -> Status {
    MM2_ASSIGN_OR_RETURN(const auto ours, original.rows(layer));
    MM2_ASSIGN_OR_RETURN(const auto theirs, reference.rows(layer));
    const ModelConfig& a = original.config();
    const ModelConfig& b = reference.config();
    MM2_ASSIGN_OR_RETURN(result.match, match_experts({ours, a.n_experts, a.hidden},
                                                     {theirs, b.n_experts, b.hidden}, options));
    MM2_ASSIGN_OR_RETURN(const auto our_bias, original.bias(layer));
    MM2_ASSIGN_OR_RETURN(const auto their_bias, reference.bias(layer));
    size_t n_equal = 0;
    for (size_t i = 0; i < result.match.pairs.size(); ++i) {
      n_equal += our_bias[static_cast<size_t>(result.match.pairs[i].original)] == their_bias[i];
    }
    result.equal_bias =
        static_cast<double>(n_equal) / static_cast<double>(result.match.pairs.size());
    return {};
  };
  result.status = run().in(join("layer ", layer));
  return result;
}

// Infinity, which JSON does not have, as null.
Json finite(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

}  // namespace

Result<Routers> Routers::open(const std::string& path, const Host& host) {
  Routers routers;
  routers.path_ = path;
  MM2_ASSIGN_OR_RETURN(routers.config_, load_config(path, host));
  MM2_ASSIGN_OR_RETURN(routers.quant_, load_quant_config(routers.config_.quantization, path, host));
  MM2_ASSIGN_OR_RETURN(routers.source_, Checkpoint::open(path, host));
  return routers;
}

Result<std::vector<float>> Routers::rows_of(Role role, int32_t layer, int32_t expert,
                                            int64_t n_rows) const {
  const WeightPlace place = locate(config_, *source_, role, layer, expert);
  MM2_ASSIGN_OR_RETURN(const WeightDescription description,
                       describe_weight(place, *source_, quant_));
  n_rows = std::min(n_rows, place.n_rows());
  std::vector<float> numbers(
      static_cast<size_t>(place.shape.n_elements() / place.n_rows() * n_rows));
  MM2_RETURN_IF_ERROR(dequantize_rows(place, description, *source_, 0, n_rows, numbers.data()));
  return numbers;
}

Result<std::vector<float>> Routers::rows(int32_t layer) const {
  return rows_of(Role::router, layer, -1, config_.n_experts);
}

Result<std::vector<float>> Routers::bias(int32_t layer) const {
  return rows_of(Role::router_bias, layer, -1, INT64_MAX);
}

Result<std::string> Routers::digest() const {
  Hasher hasher(HashKind::xxh3);
  hasher.begin();
  for (int32_t layer = 0; layer < config_.n_layers; ++layer) {
    MM2_ASSIGN_OR_RETURN(const auto numbers, rows(layer));
    hasher.update(numbers.data(), numbers.size() * sizeof(float));
  }
  return hasher.finish();
}

Result<MatchedModel> match_models(const Routers& original, const Routers& reference,
                                  const MatchOptions& options, Executor& executor) {
  const int32_t n_layers = original.config().n_layers;
  if (reference.config().n_layers != n_layers) {
    return error(Code::check_failed, reference.path(), " has ", reference.config().n_layers,
                 " layers, ", original.path(), " has ", n_layers);
  }
  std::vector<LayerResult> results(static_cast<size_t>(n_layers));
  executor.run(n_layers, [&](int32_t layer, int32_t) {
    results[static_cast<size_t>(layer)] = match_layer(original, reference, layer, options);
  });
  MatchedModel matched;
  matched.mask.n_experts = original.config().n_experts;
  for (size_t layer = 0; layer < results.size(); ++layer) {
    LayerResult& result = results[layer];
    MM2_RETURN_IF_ERROR(result.status);
    if (matched.verdict.ok())
      matched.verdict = Status(result.match.verdict).in(join("layer ", layer));
    matched.ascending = matched.ascending && result.match.ascending;
    matched.mask.deleted.push_back(result.match.deleted);
    matched.equal_bias.push_back(result.equal_bias);
    matched.layers.push_back(std::move(result.match));
  }
  return matched;
}

Json match_report(const MatchedModel& matched) {
  double smallest = std::numeric_limits<double>::infinity();
  double equal_bias = 0;
  Json rows = Json::array();
  for (size_t layer = 0; layer < matched.layers.size(); ++layer) {
    const ExpertMatch& match = matched.layers[layer];
    size_t n_exact = 0, n_doubtful = 0;
    double cost = 0;
    for (const ExpertPair& pair : match.pairs) {
      n_exact += pair.exact;
      n_doubtful += !pair.certain;
      cost = std::max(cost, pair.cost);
    }
    smallest = std::min(smallest, match.smallest_margin);
    equal_bias += matched.equal_bias[layer] / static_cast<double>(matched.layers.size());
    rows.push_back({{"layer", layer},
                    {"matched", match.pairs.size()},
                    {"exact", n_exact},
                    {"doubtful", n_doubtful},
                    {"largest_cost", cost},
                    {"smallest_margin", finite(match.smallest_margin)},
                    {"equal_bias", matched.equal_bias[layer]},
                    {"ascending", match.ascending}});
  }
  Json report = {{"layers", matched.layers.size()},
                 {"experts", matched.mask.n_experts},
                 {"deleted_per_layer", matched.mask.n_deleted()},
                 {"smallest_margin", finite(smallest)},
                 {"equal_bias", equal_bias},
                 {"ascending", matched.ascending}};
  double least = std::numeric_limits<double>::infinity();
  for (size_t layer = 0; layer < matched.by_weights.size(); ++layer) {
    double of_layer = std::numeric_limits<double>::infinity();
    for (const Likeness& one : matched.by_weights[layer])
      of_layer = std::min(of_layer, one.likeness);
    rows[layer]["least_likeness"] = finite(of_layer);
    least = std::min(least, of_layer);
  }
  if (!matched.by_weights.empty()) report["least_likeness"] = finite(least);
  report["by_layer"] = std::move(rows);
  return report;
}

Result<Json> match_details(const Routers& original, const Routers& reference,
                           const MatchedModel& matched) {
  MM2_ASSIGN_OR_RETURN(const std::string ours, original.digest());
  MM2_ASSIGN_OR_RETURN(const std::string theirs, reference.digest());
  Json layers = Json::array();
  for (size_t layer = 0; layer < matched.layers.size(); ++layer) {
    const ExpertMatch& match = matched.layers[layer];
    Json pairs = Json::array();
    for (const ExpertPair& pair : match.pairs) {
      pairs.push_back({{"original", pair.original},
                       {"exact", pair.exact},
                       {"certain", pair.certain},
                       {"mutual", pair.mutual},
                       {"cost", pair.cost},
                       {"runner_up", pair.runner_up},
                       {"margin", finite(pair.margin)},
                       {"exchange_margin", finite(pair.exchange_margin)},
                       {"centred_cost", pair.centred_cost},
                       {"centred_margin", finite(pair.centred_margin)}});
      if (matched.by_weights.empty()) continue;
      const Likeness& one = matched.by_weights[layer][pairs.size() - 1];
      pairs.back()["likeness"] = one.likeness;
      pairs.back()["likeness_of_another"] = one.runner_up_likeness;
    }
    layers.push_back({{"deleted", match.deleted}, {"retained", std::move(pairs)}});
  }
  return Json{{"routers", {{"original", ours}, {"reference", theirs}}},
              {"layers", std::move(layers)}};
}

}  // namespace mm2
