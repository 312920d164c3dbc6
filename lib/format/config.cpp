#include "format/config.h"

#include <cmath>

#include "format/checkpoint.h"
#include "format/config_fields.h"

namespace mm2 {
namespace {

constexpr uint64_t kMaxConfig = 16'000'000;
// Above any sane model, and small enough that products of two of them stay far inside 64 bits.
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxHeads = 1 << 14;
constexpr int64_t kMaxHeadDim = 1 << 12;
constexpr int64_t kMaxExperts = 1 << 16;
constexpr int64_t kMaxExpertsInAll = 1 << 20;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 31;

class ConfigReader {
 public:
  ConfigReader(const Json& root, const std::string& what, const Log& log)
      : fields_(root, what), log_(log) {}

  Result<ModelConfig> run() {
    MM2_RETURN_IF_ERROR(architecture());
    MM2_RETURN_IF_ERROR(sizes());
    MM2_RETURN_IF_ERROR(experts());
    MM2_RETURN_IF_ERROR(rotary());
    MM2_RETURN_IF_ERROR(variants());
    MM2_RETURN_IF_ERROR(rest());
    return std::move(config_);
  }

 private:
  template <typename... Pieces>
  void warn(const Pieces&... pieces) {
    log_.write(LogLevel::warning, "format", fields_.what(), ": ", pieces...);
  }

  Status architecture() {
    bool found = false;
    MM2_RETURN_IF_ERROR(fields_.text("model_type", config_.model_type, found));
    const Json* classes = fields_.find("architectures");
    const std::string first = classes != nullptr && classes->is_array() && !classes->empty() &&
                                      classes->front().is_string()
                                  ? classes->front().get<std::string>()
                                  : "";
    if (!found && first == "MiniMaxM2ForCausalLM") {
      config_.model_type = "minimax_m2";
      return {};
    }
    if (config_.model_type == "minimax_m2") return {};
    return error(Code::unsupported, fields_.what(), ": model_type is ",
                 found ? shown(Json(config_.model_type)) : std::string("missing"),
                 first.empty() ? std::string() : join(" (architecture ", shown(Json(first)), ")"),
                 ", only minimax_m2 is supported");
  }

  Status sizes() {
    ModelConfig& c = config_;
    MM2_RETURN_IF_ERROR(fields_.required("num_hidden_layers", 1, kMaxLayers, c.n_layers));
    MM2_RETURN_IF_ERROR(fields_.required("hidden_size", 1, kMaxWidth, c.hidden));
    MM2_RETURN_IF_ERROR(fields_.required("num_attention_heads", 1, kMaxHeads, c.n_heads));
    MM2_RETURN_IF_ERROR(fields_.required("num_key_value_heads", 1, kMaxHeads, c.n_kv_heads));
    MM2_RETURN_IF_ERROR(fields_.required("head_dim", 2, kMaxHeadDim, c.head_dim));
    MM2_RETURN_IF_ERROR(fields_.required("intermediate_size", 1, kMaxWidth, c.intermediate));
    MM2_RETURN_IF_ERROR(fields_.required("vocab_size", 1, kMaxVocab, c.n_vocab));
    if (c.n_heads % c.n_kv_heads != 0) {
      return error(Code::format, fields_.what(), ": num_attention_heads is ", c.n_heads,
                   ", which is no multiple of num_key_value_heads, ", c.n_kv_heads);
    }
    if (c.head_dim % 2 != 0) return fields_.wrong("head_dim", "must be even");
    if (int64_t{c.n_heads} * c.head_dim > kMaxWidth) {
      return error(Code::format, fields_.what(), ": num_attention_heads ", c.n_heads,
                   " times head_dim ", c.head_dim, " is above ", kMaxWidth);
    }
    bool found = false;
    MM2_RETURN_IF_ERROR(
        fields_.integer("max_position_embeddings", 1, kMaxPositions, c.max_positions, found));
    if (!found) {
      c.max_positions = 196608;
      warn("max_position_embeddings is missing, taken to be ", c.max_positions);
    }
    c.rms_norm_eps = 1e-6;
    return fields_.number("rms_norm_eps", 0, 1, c.rms_norm_eps, found);
  }

  Status experts() {
    int64_t local = 0, alias = 0;
    bool has_local = false, has_alias = false;
    MM2_RETURN_IF_ERROR(fields_.integer("num_local_experts", 1, kMaxExperts, local, has_local));
    MM2_RETURN_IF_ERROR(fields_.integer("num_experts", 1, kMaxExperts, alias, has_alias));
    if (!has_local && !has_alias) {
      return fields_.wrong("num_local_experts", "and so is its alias num_experts");
    }
    if (has_local && has_alias && local != alias) {
      return error(Code::format, fields_.what(), ": num_local_experts is ", local,
                   " but its alias num_experts is ", alias);
    }
    config_.n_experts = static_cast<int32_t>(has_local ? local : alias);
    MM2_RETURN_IF_ERROR(fields_.required("num_experts_per_tok", 1, kMaxExperts, config_.top_k));
    if (int64_t{config_.n_layers} * config_.n_experts > kMaxExpertsInAll) {
      return error(Code::format, fields_.what(), ": num_hidden_layers ", config_.n_layers,
                   " times ", config_.n_experts, " experts is above ", kMaxExpertsInAll);
    }
    if (config_.top_k > config_.n_experts) {
      return error(Code::format, fields_.what(), ": num_experts_per_tok is ", config_.top_k,
                   ", above ", has_local ? "num_local_experts" : "num_experts", ", ",
                   config_.n_experts);
    }
    return {};
  }

  // Base and width of the rotation. rope_parameters (transformers 5) goes before the older
  // top-level fields.
  Status rotary() {
    const Json* parameters = fields_.find("rope_parameters");
    if (parameters != nullptr && !parameters->is_object()) {
      return fields_.wrong("rope_parameters", "must be an object");
    }
    const ConfigFields nested(parameters != nullptr ? *parameters : empty_,
                              fields_.what() + ": rope_parameters");
    MM2_RETURN_IF_ERROR(rope_type(nested, ""));
    if (const Json* scaling = fields_.find("rope_scaling"); scaling != nullptr) {
      if (!scaling->is_object()) return fields_.wrong("rope_scaling", "must be an object");
      MM2_RETURN_IF_ERROR(rope_type(ConfigFields(*scaling, fields_.what() + ": rope_scaling"),
                                    scaling->empty() ? "" : "missing"));
    }
    MM2_RETURN_IF_ERROR(rope_theta(nested));
    return rotary_dim(nested);
  }

  // Only the unscaled rotation is implemented. `when_absent`: the type to assume, "" = default.
  Status rope_type(const ConfigFields& fields, std::string type) {
    bool found = false;
    MM2_RETURN_IF_ERROR(fields.text("rope_type", type, found));
    if (!found) MM2_RETURN_IF_ERROR(fields.text("type", type, found));
    if (type.empty() || type == "default") return {};
    return error(Code::unsupported, fields.what(), ": rope_type is \"", type.substr(0, 100),
                 "\", only \"default\" is supported");
  }

  Status rope_theta(const ConfigFields& nested) {
    constexpr double kLow = 1, kHigh = 1e30;
    double top = 0;
    bool in_nested = false, in_top = false;
    config_.rope_theta = 5e6;
    MM2_RETURN_IF_ERROR(fields_.number("rope_theta", kLow, kHigh, top, in_top));
    if (in_top) config_.rope_theta = top;
    MM2_RETURN_IF_ERROR(nested.number("rope_theta", kLow, kHigh, config_.rope_theta, in_nested));
    if (in_nested && in_top && top != config_.rope_theta) {
      warn("rope_theta is ", top, " but rope_parameters says ", config_.rope_theta,
           ", which is used");
    }
    if (!in_nested && !in_top) warn("rope_theta is missing, taken to be ", config_.rope_theta);
    return {};
  }

  Status rotary_dim(const ConfigFields& nested) {
    double factor = 0;
    int64_t stated = 0;
    bool has_factor = false, has_stated = false;
    MM2_RETURN_IF_ERROR(nested.number("partial_rotary_factor", 0, 1, factor, has_factor));
    if (!has_factor) {
      MM2_RETURN_IF_ERROR(fields_.number("partial_rotary_factor", 0, 1, factor, has_factor));
    }
    MM2_RETURN_IF_ERROR(fields_.integer("rotary_dim", 1, kMaxHeadDim, stated, has_stated));
    if (has_stated && stated > config_.head_dim) {
      return error(Code::format, fields_.what(), ": rotary_dim is ", stated, ", above head_dim, ",
                   config_.head_dim);
    }
    // A factor of 1 beside a rotary_dim is a default that some tool wrote, not a statement.
    const bool use_factor = has_factor && !(factor == 1 && has_stated);
    double width = use_factor ? factor * config_.head_dim : static_cast<double>(stated);
    if (!use_factor && !has_stated) {
      width = 64;
      warn(
          "neither partial_rotary_factor nor rotary_dim is there, the rotary width is taken to be "
          "64");
    } else if (use_factor && has_stated && static_cast<double>(stated) != width) {
      warn("rotary_dim is ", stated, " but partial_rotary_factor ", factor, " gives ", width,
           ", which is used");
    }
    const double rounded = std::nearbyint(width);
    if (rounded < 2 || std::fabs(width - rounded) > 1e-6 || std::fmod(rounded, 2) != 0 ||
        rounded > config_.head_dim) {
      return error(Code::format, fields_.what(), ": ",
                   use_factor ? join("partial_rotary_factor ", factor, " gives rotary_dim ")
                              : "rotary_dim is ",
                   width, ", must be even, at least 2 and at most head_dim, ", config_.head_dim);
    }
    config_.rotary_dim = static_cast<int32_t>(rounded);
    return {};
  }

  // Fields that would change the arithmetic if they held anything else.
  Status variants() {
    struct TextField {
      const char* name;
      std::initializer_list<const char*> allowed;
    };
    for (const auto& [name, allowed] :
         {TextField{"hidden_act", {"silu", "swish"}}, TextField{"scoring_func", {"sigmoid"}},
          TextField{"qk_norm_type", {"per_layer"}}}) {
      std::string value;
      bool found = false, known = false;
      MM2_RETURN_IF_ERROR(fields_.text(name, value, found));
      for (const char* one : allowed) known |= value == one;
      if (found && !known) return unsupported(name, join("only \"", *allowed.begin(), "\""));
    }
    for (const auto& [name, wanted] :
         {std::pair{"use_qk_norm", true}, std::pair{"use_routing_bias", true},
          std::pair{"norm_topk_prob", true}, std::pair{"attention_bias", false},
          std::pair{"mlp_bias", false}}) {
      bool value = wanted, found = false;
      MM2_RETURN_IF_ERROR(fields_.boolean(name, value, found));
      if (value != wanted) return unsupported(name, wanted ? "only true" : "only false");
    }
    for (const char* name : {"routed_scaling_factor", "layernorm_full_attention_beta",
                             "layernorm_linear_attention_beta", "layernorm_mlp_beta"}) {
      double value = 1;
      bool found = false;
      MM2_RETURN_IF_ERROR(fields_.number(name, -1e30, 1e30, value, found));
      if (value != 1) return unsupported(name, "only 1.0");
    }
    MM2_RETURN_IF_ERROR(only_integers("shared_intermediate_size", 0, 0));
    MM2_RETURN_IF_ERROR(only_integers("n_shared_experts", 0, 0));
    MM2_RETURN_IF_ERROR(only_integers("num_expert_group", 0, 1));
    MM2_RETURN_IF_ERROR(only_integers("n_group", 0, 1));
    MM2_RETURN_IF_ERROR(only_integers("topk_group", 0, 1));
    for (const char* name : {"sliding_window", "attn_window_size"}) {
      if (fields_.find(name) != nullptr) return unsupported(name, "only null");
    }
    return attention_types();
  }

  Status only_integers(const char* name, int64_t low, int64_t high) {
    int64_t value = low;
    bool found = false;
    MM2_RETURN_IF_ERROR(fields_.integer(name, INT32_MIN, INT32_MAX, value, found));
    if (value >= low && value <= high) return {};
    return unsupported(name, join("only ", high));
  }

  Status attention_types() {
    const Json* types = fields_.find("attn_type_list");
    if (types == nullptr) return {};
    if (!types->is_array()) return fields_.wrong("attn_type_list", "must be a list");
    for (size_t i = 0; i < types->size(); ++i) {
      const Json& type = (*types)[i];
      if (type.is_number_integer() && type.get<int64_t>() == 1) continue;
      return error(Code::unsupported, fields_.what(), ": attn_type_list[", i, "] is ", shown(type),
                   ", only 1 (full attention) is supported");
    }
    if (types->size() != static_cast<size_t>(config_.n_layers)) {
      warn("attn_type_list has ", types->size(), " entries, num_hidden_layers is ",
           config_.n_layers);
    }
    return {};
  }

  Status unsupported(const char* field, const std::string& only) {
    return error(Code::unsupported, fields_.what(), ": ", field, " is ",
                 shown(*fields_.find(field)), ", ", only, " is supported");
  }

  Status rest() {
    bool found = false, use_mtp = false;
    MM2_RETURN_IF_ERROR(fields_.boolean("tie_word_embeddings", config_.tie_word_embeddings, found));
    MM2_RETURN_IF_ERROR(fields_.boolean("use_mtp", use_mtp, found));
    int64_t modules = 0;
    MM2_RETURN_IF_ERROR(fields_.integer("num_mtp_modules", 0, kMaxLayers, modules, found));
    config_.n_mtp_modules = use_mtp ? static_cast<int32_t>(modules) : 0;
    MM2_RETURN_IF_ERROR(fields_.text("torch_dtype", config_.torch_dtype, found));
    MM2_RETURN_IF_ERROR(fields_.text("dtype", config_.torch_dtype, found));
    // The second is what compressed-tensors wrote at first.
    for (const char* name : {"quantization_config", "compression_config"}) {
      const Json* quantization = fields_.find(name);
      if (quantization == nullptr) continue;
      if (!quantization->is_object()) return fields_.wrong(name, "must be an object");
      if (!config_.quantization.is_null() && config_.quantization != *quantization) {
        return fields_.wrong(name, "differs from quantization_config; one of them must go");
      }
      config_.quantization = *quantization;
    }
    return {};
  }

  const Json empty_ = Json::object();
  ConfigFields fields_;
  const Log& log_;
  ModelConfig config_;
};

}  // namespace

Result<ModelConfig> parse_config(std::string_view text, const std::string& what, const Log& log) {
  MM2_ASSIGN_OR_RETURN(const Json root, parse_json(text, what));
  if (!root.is_object()) return error(Code::format, what, ": must hold a JSON object");
  return ConfigReader(root, what, log).run();
}

Result<ModelConfig> load_config(const std::string& path, const Host& host) {
  const std::string file = path.ends_with(".json") ? path : join_path(path, "config.json");
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, file, kMaxConfig));
  return parse_config(text, file, host.log);
}

}  // namespace mm2
