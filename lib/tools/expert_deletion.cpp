#include "tools/expert_deletion.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "quant/kv_scales.h"
#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr std::string_view kLayers = "model.layers.";
constexpr uint64_t kMaxConfig = 64 << 20;

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<int32_t> take_number(std::string_view& text) {
  int32_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end == text.data() || value < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

// "model.layers.N.block_sparse_moe." or "model.layers.N.mlp.", taken off.
std::optional<int32_t> take_moe_layer(std::string_view& name) {
  if (!take_prefix(name, kLayers)) return std::nullopt;
  const auto layer = take_number(name);
  if (!layer || !take_prefix(name, ".")) return std::nullopt;
  if (!take_prefix(name, "block_sparse_moe.") && !take_prefix(name, "mlp.")) return std::nullopt;
  return layer;
}

// What a tensor is to the router and experts of its layer.
enum class Kind : uint8_t {
  other,
  expert,  // of one expert: dropped or renamed
  rows,    // one row, or one slice along the first extent, for each expert
};

class Deletion {
 public:
  Deletion(const CheckpointView& view, const ExpertMask& mask, bool strip_kv_bias, WritePlan& plan)
      : view_(view), mask_(mask), strip_kv_bias_(strip_kv_bias), plan_(plan) {
    const auto n = static_cast<size_t>(mask.n_experts);
    for (int32_t layer = 0; layer < mask.n_layers(); ++layer) {
      std::vector<int32_t>& ids = new_id_.emplace_back(n, -1);
      const std::vector<int32_t> retained = mask.retained(layer);
      for (size_t i = 0; i < retained.size(); ++i) {
        ids[static_cast<size_t>(retained[i])] = static_cast<int32_t>(i);
      }
    }
  }

  Result<DeletionCounts> run() {
    for (const TensorInfo& tensor : view_.source().tensors()) MM2_RETURN_IF_ERROR(take(tensor));
    return counts_;
  }

  /// The name with its new number; nothing for a deleted expert; as it is when it names none.
  std::optional<std::string> renamed(std::string_view name) const {
    const auto parsed = parse_expert_name(name);
    if (!parsed || parsed->layer >= mask_.n_layers() || parsed->expert >= mask_.n_experts) {
      return std::string(name);
    }
    const int32_t id = new_id(parsed->layer, parsed->expert);
    if (id < 0) return std::nullopt;
    return join(parsed->before, id, parsed->behind);
  }

  /// Keys and texts of a configuration that name experts.
  Json renamed(const Json& json) const {
    Json made = json;
    if (json.is_object()) {
      made = Json::object();
      for (const auto& [key, value] : json.items()) {
        if (const auto name = renamed(std::string_view(key))) made[*name] = renamed(value);
      }
    } else if (json.is_array()) {
      made = Json::array();
      for (const Json& element : json) {
        if (!element.is_string()) {
          made.push_back(renamed(element));
        } else if (const auto name =
                       renamed(std::string_view(element.get_ref<const std::string&>()))) {
          made.push_back(*name);
        }
      }
    }
    return made;
  }

 private:
  int32_t new_id(int32_t layer, int32_t expert) const {
    return new_id_[static_cast<size_t>(layer)][static_cast<size_t>(expert)];
  }

  Status take(const TensorInfo& tensor) {
    if (strip_kv_bias_ && tensor.name.starts_with(kLayers) && is_kv_bias(tensor.name)) {
      ++counts_.stripped;
      return {};
    }
    std::string_view inside = tensor.name;
    const auto layer = take_moe_layer(inside);
    const Kind kind = layer ? kind_of(inside) : Kind::other;
    if (kind == Kind::other) return copy(tensor, tensor.name);
    if (*layer >= mask_.n_layers()) {
      return error(Code::unsupported, tensor.name, " belongs to layer ", *layer,
                   "; the mask is for ", mask_.n_layers(),
                   " layers, and modules for multi-token prediction cannot be pruned");
    }
    if (kind == Kind::rows) return slice(tensor, *layer);
    const auto parsed = parse_expert_name(tensor.name);
    if (parsed->expert >= mask_.n_experts) {
      return error(Code::format, tensor.name, ": the configuration has ", mask_.n_experts,
                   " experts");
    }
    const auto name = renamed(std::string_view(tensor.name));
    if (!name) {
      ++counts_.dropped;
      return {};
    }
    if (*name != tensor.name) {
      ++counts_.renamed;
      --counts_.copied;
    }
    return copy(tensor, *name);
  }

  static Kind kind_of(std::string_view inside) {
    if (inside.starts_with("gate.") || inside == "e_score_correction_bias") return Kind::rows;
    if (!take_prefix(inside, "experts.")) return Kind::other;
    return take_number(inside) && inside.starts_with(".") ? Kind::expert : Kind::rows;
  }

  Status copy(const TensorInfo& tensor, std::string name) {
    ++counts_.copied;
    plan_.copy(view_.source(), tensor, plan_.add(std::move(name), tensor.dtype, tensor.shape));
    return {};
  }

  // The slices of the experts that stay, neighbours in one stretch.
  Status slice(const TensorInfo& tensor, int32_t layer) {
    if (tensor.shape.n_elements() <= 1) return copy(tensor, tensor.name);  // one for all experts
    const int64_t n = mask_.n_experts;
    if (tensor.shape[0] != n || tensor.bytes % static_cast<uint64_t>(n) != 0) {
      return error(Code::unsupported, tensor.name, " has shape ", tensor.shape.to_string(),
                   ", wanted is one row for each of ", n, " experts");
    }
    const uint64_t bytes = tensor.bytes / static_cast<uint64_t>(n);
    std::vector<int64_t> extents(tensor.shape.extents().begin(), tensor.shape.extents().end());
    const std::vector<int32_t> kept = mask_.retained(layer);
    extents[0] = static_cast<int64_t>(kept.size());
    MM2_ASSIGN_OR_RETURN(const Shape shape, Shape::make(extents));
    const uint32_t to = plan_.add(tensor.name, tensor.dtype, shape);
    for (size_t i = 0; i < kept.size();) {
      size_t next = i + 1;
      while (next < kept.size() && kept[next] == kept[next - 1] + 1) ++next;
      plan_.copy_range(view_.source(), tensor, static_cast<uint64_t>(kept[i]) * bytes,
                       (next - i) * bytes, to, i * bytes);
      i = next;
    }
    ++counts_.sliced;
    return {};
  }

  const CheckpointView& view_;
  const ExpertMask& mask_;
  const bool strip_kv_bias_;
  WritePlan& plan_;
  std::vector<std::vector<int32_t>> new_id_;  // [n_layers][n_experts], -1: deleted
  DeletionCounts counts_;
};

Status add_configs(const CheckpointView& view, const ExpertMask& mask, const Deletion& deletion,
                   const Host& host, WritePlan& plan) {
  Json config = view.config_json();
  for (const char* name : {"num_local_experts", "num_experts"}) {
    if (config.contains(name)) config[name] = mask.n_experts - mask.n_deleted();
  }
  for (const char* name : {"quantization_config", "compression_config"}) {
    if (config.contains(name)) config[name] = deletion.renamed(config[name]);
  }
  plan.files.push_back({"config.json", config_text(config), ""});
  for (const char* name :
       {"quantization_config.json", "quantize_config.json", "hf_quant_config.json"}) {
    const std::string path = join_path(view.folder(), name);
    if (!host.source->open(path).ok()) continue;
    MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, path, kMaxConfig));
    MM2_ASSIGN_OR_RETURN(const Json json, parse_json(text, path));
    plan.files.push_back({name, config_text(deletion.renamed(json)), ""});
  }
  return {};
}

}  // namespace

std::optional<ExpertName> parse_expert_name(std::string_view name) {
  std::string_view rest = name;
  const auto layer = take_moe_layer(rest);
  if (!layer || !take_prefix(rest, "experts.")) return std::nullopt;
  ExpertName parsed;
  parsed.before = name.substr(0, name.size() - rest.size());
  const auto expert = take_number(rest);
  if (!expert || (!rest.empty() && rest[0] != '.')) return std::nullopt;
  parsed.layer = *layer;
  parsed.expert = *expert;
  parsed.behind = rest;
  return parsed;
}

Json DeletionCounts::report() const {
  return {{"copied", copied},
          {"renamed", renamed},
          {"dropped", dropped},
          {"sliced", sliced},
          {"stripped", stripped}};
}

Result<DeletionCounts> plan_expert_deletion(const CheckpointView& view, const ExpertMask& mask,
                                            bool strip_kv_bias, const Host& host, WritePlan& plan) {
  const ModelConfig& config = view.config();
  if (mask.n_layers() != config.n_layers || mask.n_experts != config.n_experts) {
    return error(Code::invalid_argument, "a mask for ", mask.n_layers(), " layers of ",
                 mask.n_experts, " experts; ", view.folder(), " has ", config.n_layers, " of ",
                 config.n_experts);
  }
  const int32_t n_kept = mask.n_experts - mask.n_deleted();
  if (n_kept < config.top_k) {
    return error(Code::invalid_argument, "the mask leaves ", n_kept,
                 " experts, a token is sent to ", config.top_k);
  }
  Deletion deletion(view, mask, strip_kv_bias, plan);
  MM2_ASSIGN_OR_RETURN(const DeletionCounts counts, deletion.run());
  MM2_RETURN_IF_ERROR(add_configs(view, mask, deletion, host, plan));
  return counts;
}

}  // namespace mm2
