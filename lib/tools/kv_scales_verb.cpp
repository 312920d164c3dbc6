// kv-scales: the scales of an FP8 cache in a checkpoint: listed; or taken from another checkpoint or a
// calibration, raised to a least value, stripped, in a new one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "quant/kv_scales.h"
#include "tools/calibrate/stats.h"
#include "tools/config_words.h"
#include "tools/derived.h"
#include "tools/doctor.h"
#include "tools/verbs.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr std::string_view kOwn[] = {"model", "import", "stats", "min", "strip", "strip_bias"};
constexpr double kLargestCode = 448;  // of E4M3
constexpr double kImplausible = 0.5;  // keys or values above 224 are not seen in this family

struct Options {
  std::string model, import, stats, out;
  double min = 0;
  bool strip = false, strip_bias = false;

  bool writes() const {
    return !import.empty() || !stats.empty() || min > 0 || strip || strip_bias;
  }
};

Result<Options> read_options(const OptionReader& reader) {
  Options to;
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.text("import", to.import));
  MM2_RETURN_IF_ERROR(reader.text("stats", to.stats));
  MM2_RETURN_IF_ERROR(reader.text("out", to.out));
  MM2_RETURN_IF_ERROR(reader.number("min", 0, 1e30, to.min));
  MM2_RETURN_IF_ERROR(reader.boolean("strip", to.strip));
  MM2_RETURN_IF_ERROR(reader.boolean("strip_bias", to.strip_bias));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  if (!to.import.empty() && !to.stats.empty()) {
    return reader.wrong("import", "must not be given together with stats");
  }
  if (to.strip && (!to.import.empty() || !to.stats.empty() || to.min > 0)) {
    return reader.wrong("strip", "must not be given together with scales to write");
  }
  if (!to.writes() && !to.out.empty()) {
    return reader.wrong("out", "needs something to do: import, stats, min, strip or strip_bias");
  }
  return to;
}

// [n_layers, n_kv_heads] of a checkpoint, not judged: a listing shows what is wrong.
Result<KvScales> scales_of(const CheckpointView& view) {
  MM2_ASSIGN_OR_RETURN(const KvScalePlaces places,
                       locate_kv_scales(view.source(), view.config().n_layers));
  return read_kv_scales(places, view.source(), view.config().n_kv_heads);
}

// Largest sizes that calibration saw, over 448; one for each layer.
Result<KvScales> scales_of_stats(const std::string& path, const ModelConfig& config,
                                 const Host& host) {
  MM2_ASSIGN_OR_RETURN(const auto stats, CalibrationStats::open(path, host));
  if (stats->n_layers() != config.n_layers) {
    return error(Code::invalid_argument, path, ": statistics of ", stats->n_layers(),
                 " layers, the model has ", config.n_layers);
  }
  KvScales scales;
  for (int32_t l = 0; l < config.n_layers; ++l) {
    for (const auto& [what, to] :
         {std::pair("k_amax", &scales.k), std::pair("v_amax", &scales.v)}) {
      MM2_ASSIGN_OR_RETURN(const std::vector<double> amax, stats->row(l, what, -1));
      const double most = *std::max_element(amax.begin(), amax.end());
      const float scale = most > 0 ? static_cast<float>(most / kLargestCode) : 1.0f;
      to->insert(to->end(), static_cast<size_t>(config.n_kv_heads), scale);
    }
  }
  return scales;
}

Json listing(const KvScales& scales, const ModelConfig& config) {
  Json rows = Json::array();
  const auto heads = static_cast<size_t>(config.n_kv_heads);
  for (size_t l = 0; l * heads < scales.k.size(); ++l) {
    const auto of = [&](const std::vector<float>& all) {
      const std::vector<float> one(all.begin() + static_cast<ptrdiff_t>(l * heads),
                                   all.begin() + static_cast<ptrdiff_t>((l + 1) * heads));
      const bool same = std::all_of(one.begin(), one.end(), [&](float x) { return x == one[0]; });
      return same ? Json(one[0]) : Json(one);
    };
    rows.push_back({{"layer", l}, {"k_scale", of(scales.k)}, {"v_scale", of(scales.v)}});
  }
  return rows;
}

std::vector<std::string> remarks_on(const KvScales& scales, size_t n_biases) {
  std::vector<std::string> remarks;
  if (scales.empty()) remarks.push_back("no scales: engines take 1.0 or refuse an FP8 cache");
  const auto count = [&](auto&& is) {
    return std::count_if(scales.k.begin(), scales.k.end(), is) +
           std::count_if(scales.v.begin(), scales.v.end(), is);
  };
  const auto ones = count([](float x) { return x == 1.0f; });
  if (!scales.empty() && ones == static_cast<ptrdiff_t>(scales.k.size() + scales.v.size())) {
    remarks.push_back("every scale is 1.0: nobody calibrated, or a tool clamped them");
  }
  const auto large = count([](float x) { return x > kImplausible && x != 1.0f; });
  if (large > 0) remarks.push_back(join(large, " scales are above 0.5: sizes above 224"));
  if (n_biases > 0) {
    remarks.push_back(join(n_biases,
                           " biases of an affine cache (k_bias, v_bias), which engines do "
                           "not read; strip_bias removes them"));
  }
  return remarks;
}

class Rewriting {
 public:
  Rewriting(const Options& options, const CheckpointView& view) : options_(options), view_(view) {}

  Status plan(WritePlan& plan, const KvScales& scales) {
    std::map<const TensorInfo*, bool> of_scales;
    MM2_ASSIGN_OR_RETURN(const KvScalePlaces places,
                         locate_kv_scales(view_.source(), view_.config().n_layers));
    for (const auto& tensors : {places.k, places.v}) {
      for (const TensorInfo* tensor : tensors) of_scales[tensor] = true;
    }
    for (const TensorInfo& tensor : view_.source().tensors()) {
      if (of_scales.contains(&tensor) || (options_.strip_bias && is_kv_bias(tensor.name))) continue;
      carry_over(view_, tensor, plan);
    }
    if (options_.strip) return {};
    const auto heads = static_cast<size_t>(view_.config().n_kv_heads);
    for (size_t l = 0; l * heads < scales.k.size(); ++l) {
      const std::string attention = join("model.layers.", l, ".self_attn.");
      write(plan, attention + "k_proj.k_scale", scales.k, l * heads, heads);
      write(plan, attention + "v_proj.v_scale", scales.v, l * heads, heads);
    }
    return {};
  }

 private:
  // One number where all heads have the same, else one for each head.
  static void write(WritePlan& plan, std::string name, const std::vector<float>& scales,
                    size_t first, size_t heads) {
    std::vector<float> numbers(scales.begin() + static_cast<ptrdiff_t>(first),
                               scales.begin() + static_cast<ptrdiff_t>(first + heads));
    const bool same =
        std::all_of(numbers.begin(), numbers.end(), [&](float x) { return x == numbers[0]; });
    if (same) numbers.resize(1);
    const uint32_t to =
        plan.add(std::move(name), Dtype::f32, same ? Shape{} : Shape{static_cast<int64_t>(heads)});
    Piece piece;
    piece.outputs = {{to, 0, numbers.size() * sizeof(float)}};
    piece.run = [numbers](PieceRun& run) -> Status {
      std::memcpy(run.outputs[0].data(), numbers.data(), run.outputs[0].size());
      return {};
    };
    plan.pieces.push_back(std::move(piece));
  }

  const Options& options_;
  const CheckpointView& view_;
};

// The configuration says that there are scales, or not any more, where it speaks of quantization.
Json config_with(const CheckpointView& view, bool has_scales) {
  Json config = view.config_json();
  const auto words = config.find("quantization_config");
  if (words == config.end() || !words->is_object()) return config;
  if (has_scales && (*words).value("kv_cache_scheme", Json()).is_null()) {
    (*words)["kv_cache_scheme"] = {{"dynamic", false}, {"num_bits", 8}, {"type", "float"}};
  }
  if (!has_scales) words->erase("kv_cache_scheme");
  return config;
}

}  // namespace

Status run_kv_scales(const Json& json, const Host& host, Json* report) {
  const OptionReader reader("kv-scales", json);
  MM2_ASSIGN_OR_RETURN(const Options options, read_options(reader));
  if (!options.writes()) {
    MM2_ASSIGN_OR_RETURN(const auto view, CheckpointView::open(options.model, host));
    MM2_ASSIGN_OR_RETURN(const KvScales scales, scales_of(*view));
    MM2_ASSIGN_OR_RETURN(const auto bounds, largest_k_scales(*view));
    const auto others = view->others();
    const auto n_biases = static_cast<size_t>(std::count_if(
        others.begin(), others.end(), [](const TensorInfo* t) { return is_kv_bias(t->name); }));
    *report = {{"model", options.model},
               {"scales", listing(scales, view->config())},
               {"largest_k_scale", bounds},
               {"n_biases", n_biases},
               {"remarks", remarks_on(scales, n_biases)}};
    return {};
  }
  MM2_ASSIGN_OR_RETURN(const WritingVerb verb, WritingVerb::read("kv-scales", json, kOwn, host));
  MM2_ASSIGN_OR_RETURN(const auto view, verb.open_input(options.model));
  WritePlan plan = verb.plan_for(*view);
  KvScales scales;
  if (!options.import.empty()) {
    MM2_ASSIGN_OR_RETURN(const auto other, verb.open_input(options.import, "import"));
    WritingVerb::add_parent(*other, plan);
    if (other->config().n_layers != view->config().n_layers ||
        other->config().n_kv_heads != view->config().n_kv_heads) {
      return error(Code::invalid_argument, "kv-scales: ", options.import, " has ",
                   other->config().n_layers, " layers of ", other->config().n_kv_heads,
                   " KV heads, ", options.model, " has ", view->config().n_layers, " of ",
                   view->config().n_kv_heads);
    }
    MM2_ASSIGN_OR_RETURN(scales, scales_of(*other));
    if (scales.empty()) {
      return error(Code::not_found, "kv-scales: ", options.import, " has no scales to import");
    }
  } else if (!options.stats.empty()) {
    MM2_ASSIGN_OR_RETURN(scales, scales_of_stats(options.stats, view->config(), host));
    plan.inputs.push_back(options.stats);
  } else if (!options.strip) {
    MM2_ASSIGN_OR_RETURN(scales, scales_of(*view));
  }
  for (auto* all : {&scales.k, &scales.v}) {
    for (float& scale : *all) scale = std::max(scale, static_cast<float>(options.min));
  }
  MM2_RETURN_IF_ERROR(Rewriting(options, *view).plan(plan, scales));
  plan.files.push_back({"config.json", config_text(config_with(*view, !scales.empty())), ""});
  Json made;
  MM2_RETURN_IF_ERROR(verb.write(plan, &made));
  made["scales"] = listing(scales, view->config());
  *report = std::move(made);
  return {};
}

}  // namespace mm2
