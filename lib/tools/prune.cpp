// prune: the experts that matter least, by what calibrate counted, and a checkpoint without them.
#include <algorithm>
#include <cmath>

#include "format/atomic_writer.h"
#include "tools/calibrate/stats.h"
#include "tools/expert_deletion.h"
#include "tools/experts/selection.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr std::string_view kOwn[] = {"model", "stats",         "method",     "ratio",
                                     "keep",  "protect_super", "all_layers", "mask_out",
                                     "seed",  "strip_kv_bias"};

struct Options {
  std::string model, stats, method = "reap", mask_out, out;
  double ratio = 0;
  int32_t keep = 0;
  int64_t seed = 0;
  bool protect_super = true, all_layers = false, strip_kv_bias = false;

  bool is_random() const { return method == "random"; }
};

Result<Options> read_options(const OptionReader& reader) {
  Options to;
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.text("stats", to.stats));
  MM2_RETURN_IF_ERROR(reader.text("method", to.method));
  MM2_RETURN_IF_ERROR(reader.text("mask_out", to.mask_out));
  MM2_RETURN_IF_ERROR(reader.text("out", to.out));
  MM2_RETURN_IF_ERROR(reader.number("ratio", 0, 1, to.ratio));
  MM2_RETURN_IF_ERROR(reader.integer("keep", 1, INT32_MAX, to.keep));
  MM2_RETURN_IF_ERROR(reader.integer("seed", 0, INT64_MAX, to.seed));
  MM2_RETURN_IF_ERROR(reader.boolean("protect_super", to.protect_super));
  MM2_RETURN_IF_ERROR(reader.boolean("all_layers", to.all_layers));
  MM2_RETURN_IF_ERROR(reader.boolean("strip_kv_bias", to.strip_kv_bias));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  if (to.stats.empty()) return reader.wrong("stats", "must name what calibrate wrote");
  if ((to.ratio > 0) == (to.keep > 0)) return reader.wrong("ratio", "or else keep must be given");
  if (!to.is_random() && !saliency_method(to.method)) {
    return reader.wrong("method",
                        "must be reap, frequency, ean_sum, ean_mean, weighted_ean_sum, "
                        "weighted_frequency_sum, reap_l2, max_activations or random");
  }
  if (to.out.empty() && to.mask_out.empty()) {
    return reader.wrong("out", "or mask_out must be given");
  }
  return to;
}

// In [0, 1), from layer, expert and seed alone: what other methods are to be compared with.
double random_saliency(int64_t seed, int32_t layer, int32_t expert) {
  uint64_t z = static_cast<uint64_t>(seed) * 0x9e3779b97f4a7c15u +
               static_cast<uint64_t>(layer) * 1000003u + static_cast<uint64_t>(expert) + 1;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

// What the removed experts bore of a layer: shares of a sum over its experts.
Result<double> removed_part(const CalibrationStats& stats, int32_t layer, const char* what,
                            std::span<const int32_t> removed) {
  MM2_ASSIGN_OR_RETURN(const std::vector<double> sums, stats.numbers(layer, what));
  double all = 0, gone = 0;
  for (const double sum : sums) all += sum;
  for (const int32_t expert : removed) gone += sums[static_cast<size_t>(expert)];
  return all > 0 ? gone / all : 0.0;
}

class Pruning {
 public:
  Pruning(const Options& options, const ModelConfig& config, const CalibrationStats& stats)
      : options_(options), config_(config), stats_(stats) {}

  Status choose() {
    if (stats_.n_layers() != config_.n_layers || stats_.n_experts() != config_.n_experts) {
      return error(Code::invalid_argument, "prune: ", options_.stats, " is of ", stats_.n_layers(),
                   " layers and ", stats_.n_experts(), " experts, the model has ", config_.n_layers,
                   " and ", config_.n_experts);
    }
    MM2_RETURN_IF_ERROR(find_super_experts());
    const int32_t n_removed = options_.keep > 0
                                  ? config_.n_experts - options_.keep
                                  : n_removed_of_ratio(config_.n_experts, options_.ratio);
    if (n_removed <= 0) {
      return error(Code::invalid_argument, "prune: of ", config_.n_experts, " experts ",
                   config_.n_experts - n_removed, " would stay: nothing to do");
    }
    mask_.n_experts = config_.n_experts;
    for (int32_t layer = 0; layer < config_.n_layers; ++layer) {
      MM2_RETURN_IF_ERROR(choose_of_layer(layer, n_removed).in(join("prune: layer ", layer)));
    }
    return {};
  }

  const ExpertMask& mask() const { return mask_; }

  Json report() const {
    Json super = Json::array();
    for (const auto& [layer, expert] : super_) super.push_back({layer, expert});
    return {{"method", options_.method},
            {"experts", mask_.n_experts},
            {"kept", mask_.n_experts - mask_.n_deleted()},
            {"super_experts", std::move(super)},
            {"layers", layers_}};
  }

 private:
  Status find_super_experts() {
    if (!options_.protect_super || options_.is_random()) return {};
    std::vector<std::vector<double>> largest;
    for (int32_t layer = 0; layer < config_.n_layers; ++layer) {
      MM2_ASSIGN_OR_RETURN(auto numbers, stats_.numbers(layer, "largest_activation"));
      largest.push_back(std::move(numbers));
    }
    super_ = super_experts(largest, options_.all_layers);
    return {};
  }

  Status choose_of_layer(int32_t layer, int32_t n_removed) {
    std::vector<double> saliency;
    if (options_.is_random()) {
      for (int32_t e = 0; e < config_.n_experts; ++e) {
        saliency.push_back(random_saliency(options_.seed, layer, e));
      }
    } else {
      MM2_ASSIGN_OR_RETURN(saliency, stats_.saliency(layer, *saliency_method(options_.method)));
    }
    std::vector<int32_t> protected_experts;
    for (const auto& [l, expert] : super_) {
      if (l == layer) protected_experts.push_back(expert);
    }
    MM2_ASSIGN_OR_RETURN(ExpertChoice choice,
                         choose_experts(saliency, n_removed, config_.top_k, protected_experts));
    Json row = {{"layer", layer}};
    for (const auto& [name, what] :
         {std::pair("saliency", "weighted_norm_sum"), std::pair("weight", "weight_sum"),
          std::pair("tokens", "expert_tokens")}) {
      MM2_ASSIGN_OR_RETURN(const double part, removed_part(stats_, layer, what, choice.removed));
      row[join("removed_", name)] = part;
    }
    // Relative L2 of what is missing from the layer's output, where outputs of experts are at right
    // angles to each other and those that stay do not take over.
    MM2_ASSIGN_OR_RETURN(const double energy,
                         removed_part(stats_, layer, "weighted_square_sum", choice.removed));
    row["layer_error"] = std::sqrt(energy);
    MM2_ASSIGN_OR_RETURN(const auto tokens, stats_.numbers(layer, "expert_tokens"));
    row["unseen"] = std::count(tokens.begin(), tokens.end(), 0.0);
    row["gap"] = std::isfinite(choice.gap) ? Json(choice.gap) : Json(nullptr);
    layers_.push_back(std::move(row));
    std::sort(choice.removed.begin(), choice.removed.end());
    mask_.deleted.push_back(std::move(choice.removed));
    return {};
  }

  const Options& options_;
  const ModelConfig& config_;
  const CalibrationStats& stats_;
  std::vector<std::pair<int32_t, int32_t>> super_;
  ExpertMask mask_;
  Json layers_ = Json::array();
};

}  // namespace

Status run_prune(const Json& json, const Host& host, Json* report) {
  const OptionReader reader("prune", json);
  MM2_ASSIGN_OR_RETURN(const Options options, read_options(reader));
  MM2_ASSIGN_OR_RETURN(const auto stats, CalibrationStats::open(options.stats, host));
  MM2_ASSIGN_OR_RETURN(const auto view, CheckpointView::open(options.model, host));
  Pruning pruning(options, view->config(), *stats);
  MM2_RETURN_IF_ERROR(pruning.choose());
  Json made = pruning.report();
  if (!options.out.empty()) {
    MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("prune", json, kOwn, host));
    WritePlan plan = verb.plan_for(*view);
    // What decides the output is the mask, wherever it came from.
    plan.recipe = {{"deleted", pruning.mask().deleted}, {"method", options.method}};
    MM2_ASSIGN_OR_RETURN(
        const DeletionCounts counts,
        plan_expert_deletion(*view, pruning.mask(), options.strip_kv_bias, host, plan));
    Json written;
    MM2_RETURN_IF_ERROR(verb.write(plan, &written));
    made.update(written);
    made["what_happened_to_tensors"] = counts.report();
  }
  if (!options.mask_out.empty() && !made.contains("dry_run")) {
    MM2_RETURN_IF_ERROR(write_text_file(options.mask_out, mask_text(pruning.mask()) + "\n"));
    made["mask"] = options.mask_out;
  }
  *report = std::move(made);
  return {};
}

}  // namespace mm2
