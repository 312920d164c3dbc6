// shard-plan: what each device would hold under tensor and expert parallelism, what engines would refuse,
// and where experts go when their loads are known.
#include <algorithm>

#include "base/checked.h"
#include "tools/experts/placement.h"
#include "tools/option_reader.h"
#include "tools/stream/checkpoint_view.h"
#include "tools/verbs.h"

namespace mm2 {
namespace {

struct Options {
  std::string model, eplb;
  int32_t tp = 1, ep = 1, redundant = 0, nodes = 1, groups = 1;
  bool strict = false;
};

Result<Options> read_options(const Json& json) {
  static constexpr std::string_view kAllowed[] = {
      "model", "tp", "ep", "eplb", "redundant", "nodes", "groups", "threads", "strict"};
  const OptionReader reader("shard-plan", json);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  Options to;
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.text("eplb", to.eplb));
  MM2_RETURN_IF_ERROR(reader.integer("tp", 1, 4096, to.tp));
  MM2_RETURN_IF_ERROR(reader.integer("ep", 1, 4096, to.ep));
  MM2_RETURN_IF_ERROR(reader.integer("redundant", 0, 65536, to.redundant));
  MM2_RETURN_IF_ERROR(reader.integer("nodes", 1, 4096, to.nodes));
  MM2_RETURN_IF_ERROR(reader.integer("groups", 1, 65536, to.groups));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", to.strict));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  if (to.ep > 1 && to.ep != to.tp) {
    return reader.wrong(
        "ep", join("must be 1 or tp (", to.tp, "): engines spread experts over the devices of tp"));
  }
  return to;
}

uint64_t stored_bytes(const ViewWeight& weight) {
  uint64_t whole = 0;
  for (const TensorInfo* part : weight.description.parts) {
    if (part != nullptr) whole += part->bytes;
  }
  // Of a fused tensor, this weight's share.
  const int64_t all = weight.place.stored.n_elements(), mine = weight.place.shape.n_elements();
  return weight.description.is_plain() && all > mine
             ? whole / static_cast<uint64_t>(all) * static_cast<uint64_t>(mine)
             : whole;
}

struct Shares {
  uint64_t attention = 0, experts = 0, vocabulary = 0, replicated = 0;
  uint64_t sum() const { return attention + experts + vocabulary + replicated; }
};

/// What one device holds: engines split heads, vocabulary and either the inside of experts or the
/// experts themselves; routers and norms of the residual stream are whole everywhere.
Shares shares(const CheckpointView& view, const Options& options) {
  const auto tp = static_cast<uint64_t>(options.tp);
  const auto kv_parts = static_cast<uint64_t>(std::min(options.tp, view.config().n_kv_heads));
  Shares all;
  for (const ViewWeight& weight : view.weights()) {
    const uint64_t bytes = stored_bytes(weight);
    switch (weight.place.role) {
      case Role::embedding:
      case Role::lm_head:
        if (weight.place.role == Role::embedding || !view.config().tie_word_embeddings) {
          all.vocabulary += ceil_div(bytes, tp);
        }
        break;
      case Role::q_proj:
      case Role::o_proj:
      case Role::q_norm:
        all.attention += ceil_div(bytes, tp);
        break;
      case Role::k_proj:
      case Role::v_proj:
      case Role::k_norm:
        all.attention += ceil_div(bytes, kv_parts);
        break;
      case Role::w1:
      case Role::w2:
      case Role::w3:
        all.experts += ceil_div(bytes, tp);
        break;
      default:
        all.replicated += bytes;
    }
  }
  return all;
}

class Legality {
 public:
  void add(const std::string& what, bool ok, const std::string& sentence) {
    rows_.push_back({{"check", what}, {"ok", ok}, {"why", sentence}});
    if (!ok && first_.empty()) first_ = sentence;
  }
  const Json& rows() const { return rows_; }
  const std::string& first() const { return first_; }

 private:
  Json rows_ = Json::array();
  std::string first_;
};

void check_heads(const ModelConfig& config, int32_t tp, Legality& legality) {
  legality.add("heads", config.n_heads % tp == 0,
               join("n_heads ", config.n_heads, " over tp ", tp));
  const bool split = config.n_kv_heads % tp == 0, copied = tp % config.n_kv_heads == 0;
  legality.add("kv heads", split || copied,
               join("n_kv_heads ", config.n_kv_heads, " over tp ", tp,
                    split    ? ""
                    : copied ? join(": each on ", tp / config.n_kv_heads, " devices")
                             : ": neither divides the other"));
}

// Rows and columns of a part of a matrix against what its scales and kernels want.
void check_part(const ViewWeight& weight, const std::string& what, int64_t n_rows, int64_t n_cols,
                Legality& legality) {
  const WeightDescription& d = weight.description;
  if (d.is_plain()) return;
  const std::string shape = join("[", n_rows, ", ", n_cols, "] in ", d.to_string());
  const Granularity granularity = d.scheme->granularity;
  bool ok = true;
  if (granularity == Granularity::block && n_rows != weight.place.n_rows()) {
    ok = n_rows % d.scale_rows == 0;
  }
  if ((granularity == Granularity::block || granularity == Granularity::group) &&
      n_cols != weight.place.n_cols()) {
    ok = ok && n_cols % std::max<int64_t>(1, d.scale_cols) == 0;
  }
  legality.add(what, ok, join(what, " ", shape, ok ? "" : ": scales straddle devices"));
  if (d.scheme->codes == CodeType::integer && d.bits == 4) {
    const bool tiles = n_rows % 64 == 0 && n_cols % 128 == 0;
    legality.add(
        what + " tiles", tiles,
        join(what, " ", shape, tiles ? "" : ": 4-bit kernels want multiples of 64 and 128"));
  }
}

void check_matrices(const CheckpointView& view, const Options& options, Legality& legality) {
  const int64_t tp = options.tp, split = options.ep > 1 ? 1 : tp;
  bool seen[kRoles] = {};
  for (const ViewWeight& weight : view.weights()) {
    bool& done = seen[static_cast<size_t>(weight.place.role)];
    if (done) continue;
    done = true;
    const int64_t rows = weight.place.n_rows(), cols = weight.place.n_cols();
    const std::string name(role_name(weight.place.role));
    switch (weight.place.role) {
      case Role::q_proj:
        check_part(weight, name, rows / tp, cols, legality);
        break;
      case Role::k_proj:
      case Role::v_proj:
        check_part(weight, name, rows / std::min<int64_t>(tp, view.config().n_kv_heads), cols,
                   legality);
        break;
      case Role::o_proj:
        check_part(weight, name, rows, cols / tp, legality);
        break;
      case Role::w1:
      case Role::w3:
        check_part(weight, name, rows / split, cols, legality);
        break;
      case Role::w2:
        check_part(weight, name, rows, cols / split, legality);
        break;
      default:
        break;
    }
  }
}

void check_experts(const ModelConfig& config, const Options& options, Legality& legality) {
  if (options.ep > 1) {
    const int32_t slots = config.n_experts + options.redundant;
    legality.add(
        "experts", slots % options.ep == 0,
        join(config.n_experts, " experts and ", options.redundant, " copies over ep ", options.ep,
             slots % options.ep == 0
                 ? ""
                 : join(": redundant ", round_up(config.n_experts, options.ep) - config.n_experts,
                        " would do")));
  } else {
    legality.add("inside of experts", config.intermediate % options.tp == 0,
                 join("intermediate ", config.intermediate, " over tp ", options.tp));
  }
}

// [[load of each expert], ...] by layer, or {"layers": [{"frequency": [...]}, ...]}.
Result<std::vector<std::vector<double>>> read_loads(const std::string& path, const Host& host) {
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, path, 256 << 20));
  MM2_ASSIGN_OR_RETURN(const Json json, parse_json(text, path));
  const Json* layers = &json;
  if (json.is_object() && json.contains("layers")) layers = &json["layers"];
  const auto wrong = [&] {
    return error(Code::format, path,
                 ": wanted is a list of loads for each layer, or {\"layers\": [{\"frequency\": "
                 "[...]}, ...]}");
  };
  if (!layers->is_array()) return wrong();
  std::vector<std::vector<double>> loads;
  for (const Json& layer : *layers) {
    const Json* list = &layer;
    if (layer.is_object() && layer.contains("frequency")) list = &layer["frequency"];
    if (!list->is_array()) return wrong();
    auto& to = loads.emplace_back();
    for (const Json& load : *list) {
      if (!load.is_number()) return wrong();
      to.push_back(load.get<double>());
    }
  }
  return loads;
}

Result<Json> placements(const Options& options, const ModelConfig& config, const Host& host) {
  MM2_ASSIGN_OR_RETURN(const auto loads, read_loads(options.eplb, host));
  if (static_cast<int32_t>(loads.size()) != config.n_layers) {
    return error(Code::format, options.eplb, ": loads of ", loads.size(), " layers, the model has ",
                 config.n_layers);
  }
  Json rows = Json::array();
  for (size_t layer = 0; layer < loads.size(); ++layer) {
    if (static_cast<int32_t>(loads[layer].size()) != config.n_experts) {
      return error(Code::format, options.eplb, ": layer ", layer, " has ", loads[layer].size(),
                   " loads, the model ", config.n_experts, " experts");
    }
    const auto placed = place_experts(loads[layer], {config.n_experts + options.redundant,
                                                     options.ep, options.groups, options.nodes});
    if (!placed.ok()) return Status(placed.status()).in(join("layer ", layer));
    const double sum = [&] {
      double all = 0;
      for (const double load : placed->load) all += load;
      return all;
    }();
    const double most = *std::max_element(placed->load.begin(), placed->load.end());
    rows.push_back({{"layer", layer},
                    {"max_over_mean", sum > 0 ? Json(most * options.ep / sum) : Json()},
                    {"experts", placed->experts}});
  }
  return rows;
}

}  // namespace

Status run_shard_plan(const Json& json, const Host& host, Json* report) {
  MM2_ASSIGN_OR_RETURN(const Options options, read_options(json));
  MM2_ASSIGN_OR_RETURN(const auto view, CheckpointView::open(options.model, host));
  Legality legality;
  check_heads(view->config(), options.tp, legality);
  check_experts(view->config(), options, legality);
  if (legality.first().empty()) check_matrices(*view, options, legality);
  const Shares device = shares(*view, options);
  Json made = {{"tp", options.tp},
               {"ep", options.ep},
               {"device",
                {{"attention_bytes", device.attention},
                 {"experts_bytes", device.experts},
                 {"vocabulary_bytes", device.vocabulary},
                 {"replicated_bytes", device.replicated},
                 {"total_bytes", device.sum()}}},
               {"checkpoint_bytes", view->source().tensor_bytes()},
               {"checks", legality.rows()},
               {"legal", legality.first().empty()}};
  if (!options.eplb.empty()) {
    MM2_ASSIGN_OR_RETURN(made["placement"], placements(options, view->config(), host));
  }
  *report = std::move(made);
  if (legality.first().empty() || !options.strict) return {};
  return error(Code::check_failed, options.model, ": ", legality.first());
}

}  // namespace mm2
