#include "quant/quant_config.h"

#include <array>
#include <limits>
#include <string_view>

#include "quant/quant_fields.h"

namespace mm2 {
namespace {

constexpr std::array<std::string_view, 6> kMethods = {
    "fp8", "gptq", "awq", "auto-round", "compressed-tensors", "modelopt"};

class QuantReader {
 public:
  QuantReader(const Json& object, const std::string& what, const std::string& default_method)
      : fields_{object, what} {
    config_.what = what;
    config_.method = default_method;
  }

  Result<QuantConfig> run() {
    MM2_RETURN_IF_ERROR(read_method());
    MM2_RETURN_IF_ERROR(read_words(fields_, "bits", config_.words));
    MM2_RETURN_IF_ERROR(read_blocks(fields_, "weight_block_size", config_.words));
    MM2_RETURN_IF_ERROR(read_fp8_format());
    MM2_RETURN_IF_ERROR(read_layout());
    MM2_RETURN_IF_ERROR(read_config_groups());
    MM2_RETURN_IF_ERROR(read_dynamic());
    MM2_RETURN_IF_ERROR(read_extra_config());
    return std::move(config_);
  }

 private:
  Status read_method() {
    MM2_RETURN_IF_ERROR(fields_.text("quant_method", config_.method));
    MM2_RETURN_IF_ERROR(fields_.text("quant_algo", config_.algorithm));
    // ModelOpt's own file has no quant_method but names its algorithm.
    if (config_.method.empty() && !config_.algorithm.empty()) config_.method = "modelopt";
    for (const std::string_view known : kMethods) {
      if (config_.method == known) return {};
    }
    std::string list;
    for (const std::string_view known : kMethods) list += join(list.empty() ? "" : ", ", known);
    return error(Code::unsupported, fields_.what, ": quant_method is ",
                 config_.method.empty() ? std::string("missing") : spelled(config_.method),
                 ", known are ", list);
  }

  Status read_fp8_format() const {
    std::string format;
    MM2_RETURN_IF_ERROR(fields_.text("fmt", format));
    if (format.empty() || format == "float8_e4m3fn" || format == "e4m3") return {};
    return error(Code::unsupported, fields_.what, ": fmt is ", spelled(format),
                 ", only float8_e4m3fn is supported");
  }

  Status read_layout() {
    if (config_.method == "gptq") return read_gptq_format();
    if (config_.method == "auto-round") return read_packing_format();
    if (config_.method != "awq") return {};
    config_.layout = "awq";
    std::string version;
    MM2_RETURN_IF_ERROR(fields_.text("version", version));
    if (version.empty() || version == "gemm" || version == "GEMM") return {};
    return error(Code::unsupported, fields_.what, ": version is ", spelled(version),
                 ", only gemm is supported");
  }

  Status read_gptq_format() {
    std::string other;
    MM2_RETURN_IF_ERROR(fields_.text("checkpoint_format", config_.checkpoint_format));
    MM2_RETURN_IF_ERROR(fields_.text("format", other));
    std::string& format = config_.checkpoint_format;
    if (!format.empty() && !other.empty() && format != other) {
      return error(Code::format, fields_.what, ": checkpoint_format is ", spelled(format),
                   ", format is ", spelled(other), "; they must be the same");
    }
    if (format.empty()) format = other;
    config_.layout = format.empty() ? "gptq" : format;
    if (config_.layout == "gptq" || config_.layout == "gptq_v2") return {};
    return error(Code::unsupported, fields_.what, ": checkpoint_format is ", spelled(format),
                 ", known are gptq, gptq_v2");
  }

  // "auto_round", "auto_round:auto_gptq", "auto_round:gptqmodel", "auto_round:auto_awq", and the
  // same with the name of a kernel behind.
  Status read_packing_format() {
    std::string& format = config_.checkpoint_format;
    MM2_RETURN_IF_ERROR(fields_.text("packing_format", format));
    const auto names = [&](const char* part) { return format.find(part) != std::string::npos; };
    if (names("awq")) {
      config_.layout = "awq";
    } else if (names("gptqmodel") || format == "auto_round") {
      config_.layout = "gptq_v2";
    } else if (names("gptq") || (format.empty() && config_.words.symmetric.value_or(false))) {
      config_.layout = "gptq";  // where nothing is said, sym tells every zero
    } else if (!format.empty()) {
      return error(Code::unsupported, fields_.what, ": packing_format is ", spelled(format),
                   ", known are auto_round and what names gptq, gptqmodel or awq");
    } else {
      return error(Code::format, fields_.what,
                   ": packing_format is missing and sym is not true, so the zeros cannot be told");
    }
    return {};
  }

  // compressed-tensors and ModelOpt.
  Status read_config_groups() {
    const Json* groups = fields_.find("config_groups");
    if (groups == nullptr) return {};
    if (!groups->is_object()) {
      return error(Code::format, fields_.what, ": config_groups must be an object");
    }
    for (const auto& [name, group] : groups->items()) {
      const std::string by = join("config_groups: ", name.substr(0, kShown));
      const std::string where = join(fields_.what, ": ", by);
      if (!group.is_object()) return error(Code::format, where, ": must be an object");
      const QuantFields fields{group, where};
      const Json* weights = fields.find("weights");
      if (weights == nullptr) continue;
      if (!weights->is_object()) return error(Code::format, where, ": weights must be an object");
      LayerRules::Rule rule{by, {}};
      MM2_RETURN_IF_ERROR(read_group({*weights, where + ": weights"}, rule.words));
      MM2_RETURN_IF_ERROR(read_targets(fields, rule));
    }
    return {};
  }

  Status read_group(const QuantFields& fields, QuantWords& words) const {
    MM2_RETURN_IF_ERROR(read_words(fields, "num_bits", words));
    MM2_RETURN_IF_ERROR(read_blocks(fields, "block_structure", words));
    MM2_RETURN_IF_ERROR(fields.boolean("symmetric", words.symmetric));
    std::string type;
    MM2_RETURN_IF_ERROR(fields.text("type", type));
    if (type == "int") words.codes = QuantWords::Codes::integer;
    if (type == "float") words.codes = QuantWords::Codes::floating;
    std::string order;
    if (const Json* value = fields.find("actorder"); value != nullptr && value->is_string()) {
      order = value->get<std::string>();
    }
    // "weight" and "static" order while quantising only and store the columns as they were.
    if (order == "group" || order == "dynamic") words.desc_act = true;
    return {};
  }

  // Names, patterns behind "re:", and the class of all our matrices.
  Status read_targets(const QuantFields& fields, const LayerRules::Rule& rule) {
    const Json* targets = fields.find("targets");
    if (targets == nullptr) {
      config_.rules.add_for_all(rule);
      return {};
    }
    if (!targets->is_array()) return error(Code::format, fields.what, ": targets must be a list");
    for (const Json& target : *targets) {
      if (!target.is_string()) {
        return error(Code::format, fields.what, ": targets holds ", spelled(target),
                     ", must hold strings");
      }
      const std::string text = target.get<std::string>();
      if (text == "Linear") {
        config_.rules.add_for_all(rule);
      } else if (text.starts_with("re:")) {
        MM2_RETURN_IF_ERROR(add_pattern(text.substr(3), false, rule));
      } else {
        config_.rules.add_exact(text, rule);
      }
    }
    return {};
  }

  // GPTQModel: the first pattern that matches wins; "-:" in front of it means not quantised.
  Status read_dynamic() {
    return each_member("dynamic", [&](const std::string& key, LayerRules::Rule rule) -> Status {
      const bool skips = key.starts_with("-:");
      rule.words.plain |= skips;
      return add_pattern(skips || key.starts_with("+:") ? key.substr(2) : key, false, rule);
    });
  }

  // AutoRound: names of layers, or patterns.
  Status read_extra_config() {
    return each_member("extra_config", [&](const std::string& key, const LayerRules::Rule& rule) {
      config_.rules.add_exact(key, rule);
      const bool is_name = key.find_first_of("*+?[](){}|^$\\") == std::string::npos;
      return is_name ? Status() : add_pattern(key, true, rule);
    });
  }

  template <typename F>
  Status each_member(const char* field, F&& add) {
    const Json* members = fields_.find(field);
    if (members == nullptr) return {};
    if (members->is_boolean() && !members->get<bool>()) return {};
    if (!members->is_object()) {
      return error(Code::format, fields_.what, ": ", field, " must be an object");
    }
    for (const auto& [key, value] : members->items()) {
      LayerRules::Rule rule{join(field, ": ", spelled(key)), {}};
      const std::string where = join(fields_.what, ": ", rule.said_by);
      if (!value.is_object() && !value.is_null()) {
        return error(Code::format, where, ": must be an object");
      }
      if (value.is_object()) {
        MM2_RETURN_IF_ERROR(read_words({value, where}, "bits", rule.words));
      }
      rule.words.plain = rule.words.bits == 16;
      MM2_RETURN_IF_ERROR(add(key, rule));
    }
    return {};
  }

  Status add_pattern(const std::string& text, bool anywhere, const LayerRules::Rule& rule) {
    auto pattern = Pattern::compile(text);
    if (pattern.ok()) {
      config_.rules.add_pattern(*std::move(pattern), anywhere, rule);
      return {};
    }
    if (pattern.status().code() == Code::format) {
      return error(Code::format, fields_.what, ": ", rule.said_by, ": ",
                   pattern.status().message());
    }
    // Tensors say how they are stored; only the comparison with this rule is lost.
    config_.remarks.push_back(join(fields_.what, ": ", rule.said_by, ": ",
                                   pattern.status().message(), "; the rule is passed over"));
    return {};
  }

  QuantFields fields_;
  QuantConfig config_;
};

// What two files say about one field, where both say something.
struct Comparison {
  const QuantConfig& a;
  const QuantConfig& b;
  Status status = {};

  template <typename T>
  void compare(const char* field, const T& x, const T& y, bool both) {
    if (!status.ok() || !both || x == y) return;
    status = error(Code::format, a.what, ": ", field, " is ", x, ", but ", b.what, " says ", y);
  }
  void numbers(const char* field, int32_t x, int32_t y) { compare(field, x, y, x != 0 && y != 0); }
  void texts(const char* field, const std::string& x, const std::string& y) {
    compare(field, spelled(x), spelled(y), !x.empty() && !y.empty());
  }
  void truths(const char* field, std::optional<bool> x, std::optional<bool> y) {
    const auto word = [](std::optional<bool> v) {
      return std::string(v.value_or(false) ? "true" : "false");
    };
    compare(field, word(x), word(y), x.has_value() && y.has_value());
  }
};

Status must_agree(const QuantConfig& a, const QuantConfig& b) {
  Comparison c{a, b};
  c.texts("quant_method", a.method, b.method);
  c.texts("the format of packed words", a.layout, b.layout);
  c.texts("quant_algo", a.algorithm, b.algorithm);
  c.numbers("bits", a.words.bits, b.words.bits);
  c.numbers("group_size", a.words.group_size, b.words.group_size);
  c.numbers("weight_block_size[0]", a.words.block_rows, b.words.block_rows);
  c.numbers("weight_block_size[1]", a.words.block_cols, b.words.block_cols);
  c.truths("sym", a.words.symmetric, b.words.symmetric);
  c.truths("desc_act", a.words.desc_act, b.words.desc_act);
  return c.status;
}

struct Sidecar {
  const char* name;
  const char* default_method;
};
constexpr Sidecar kSidecars[] = {{"quantization_config.json", ""},
                                 {"quantize_config.json", "gptq"},
                                 {"hf_quant_config.json", ""}};

Result<QuantConfig> read_sidecar(const Sidecar& sidecar, const std::string& file,
                                 const Host& host) {
  constexpr uint64_t kMost = 16'000'000;
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, file, kMost));
  MM2_ASSIGN_OR_RETURN(const Json json, parse_json(text, file));
  const Json* object = &json;
  if (json.is_object() && json.contains("quantization")) object = &json.at("quantization");
  if (!object->is_object()) return error(Code::format, file, ": must hold a JSON object");
  return QuantReader(*object, file, sidecar.default_method).run();
}

}  // namespace

QuantConfig::Said QuantConfig::about(const WeightPlace& place) const {
  Said said{words, what};
  if (const LayerRules::Rule* rule = rules.find(place); rule != nullptr) {
    said.words.add(rule->words);
    said.by = join(what, ": ", rule->said_by);
  }
  return said;
}

Result<QuantConfig> parse_quant_config(const Json& quantization, const std::string& what) {
  if (quantization.is_null()) return QuantConfig{};
  const std::string where = what + ": quantization_config";
  if (!quantization.is_object()) return error(Code::format, where, " must be an object");
  return QuantReader(quantization, where, "").run();
}

Result<QuantConfig> load_quant_config(const Json& quantization, const std::string& folder,
                                      const Host& host) {
  const std::string start = folder.empty() ? "" : folder + "/";
  MM2_ASSIGN_OR_RETURN(QuantConfig config, parse_quant_config(quantization, start + "config.json"));
  for (const Sidecar& sidecar : kSidecars) {
    Result<QuantConfig> other = read_sidecar(sidecar, start + sidecar.name, host);
    if (!other.ok() && other.status().code() == Code::not_found) continue;
    if (!other.ok()) return other.status();
    if (config.method.empty()) {
      config = *std::move(other);
    } else {
      MM2_RETURN_IF_ERROR(must_agree(config, *other));
    }
  }
  return config;
}

}  // namespace mm2
