#include "tools/config_words.h"

#include <algorithm>

#include "tools/writing.h"

namespace mm2 {
namespace {

constexpr std::string_view kAttention = ".self_attn.";
constexpr const char* kProducerVersion = MM2_VERSION_TEXT;

bool is_attention(const std::string& module) {
  return module.find(kAttention) != module.npos;
}

// Whether all matrices of attention stay plain, so that a pattern says it.
bool all_attention_plain(const WrittenWeights& written) {
  const auto n = std::count_if(written.plain.begin(), written.plain.end(), is_attention);
  return n == 4 * int64_t{written.n_layers} && n > 0;
}

// Modules that must be named: all that are plain, or but for attention where a pattern names that.
std::vector<std::string> named(const WrittenWeights& written, const char* attention_pattern) {
  std::vector<std::string> names;
  const bool pattern = all_attention_plain(written);
  if (pattern) names.push_back(attention_pattern);
  for (const std::string& module : written.plain) {
    if (!pattern || !is_attention(module)) names.push_back(module);
  }
  return names;
}

Json list(std::vector<std::string> first, const std::vector<std::string>& then) {
  first.insert(first.end(), then.begin(), then.end());
  return first;
}

int64_t config_group(const PackSpec& spec) {
  return spec.group == 0 ? -1 : spec.group;
}

Json gptq_words(const WrittenWeights& written) {
  const PackSpec& spec = written.spec;
  const char* format = spec.dialect->stored_zero_minus_one ? "gptq" : "gptq_v2";
  Json words = {{"quant_method", "gptq"},
                {"bits", spec.bits},
                {"group_size", config_group(spec)},
                {"sym", spec.symmetric},
                {"desc_act", spec.ordered},
                {"lm_head", false},
                {"checkpoint_format", format},
                {"pack_dtype", "int32"},
                {"meta", {{"quantizer", {join("mm2:", kProducerVersion)}}}}};
  // "-:" takes modules out; GPTQModel and vLLM read it.
  Json dynamic = Json::object();
  for (std::string module : named(written, ".*self_attn.*")) {
    if (module.find('*') == module.npos) {
      std::string escaped;
      for (const char c : module) escaped += c == '.' ? std::string("\\.") : std::string(1, c);
      module = "^" + escaped + "$";
    }
    dynamic["-:" + module] = Json::object();
  }
  if (!dynamic.empty()) words["dynamic"] = std::move(dynamic);
  return words;
}

Json auto_round_words(const WrittenWeights& written) {
  const PackSpec& spec = written.spec;
  const bool v1 = spec.dialect->stored_zero_minus_one;
  Json plain = {{"bits", 16}, {"data_type", "float"}};
  Json extra = {{"lm_head", plain}};
  for (int32_t l = 0; l < written.n_layers; ++l) {
    extra[join("model.layers.", l, ".block_sparse_moe.gate")] = plain;
  }
  for (const std::string& module : written.plain) extra[module] = plain;
  return {{"quant_method", "auto-round"},
          {"packing_format", v1 ? "auto_round:auto_gptq" : "auto_round"},
          {"bits", spec.bits},
          {"group_size", config_group(spec)},
          {"sym", spec.symmetric},
          {"data_type", "int"},
          {"iters", 0},
          {"block_name_to_quantize", "model.layers"},
          {"extra_config", std::move(extra)}};
}

Json awq_words(const WrittenWeights& written) {
  const PackSpec& spec = written.spec;
  return {{"quant_method", "awq"},
          {"version", "gemm"},
          {"bits", spec.bits},
          {"group_size", config_group(spec)},
          {"zero_point", true},
          {"modules_to_not_convert",
           list({"block_sparse_moe.gate", "lm_head"}, named(written, "self_attn"))}};
}

Json fp8_words(const WrittenWeights& written) {
  return {{"quant_method", "fp8"},
          {"activation_scheme", "dynamic"},
          {"fmt", "float8_e4m3fn"},
          {"weight_block_size", {written.spec.block_rows, written.spec.block_cols}},
          {"modules_to_not_convert",
           list({"gate", "e_score_correction_bias", "lm_head"}, named(written, "self_attn"))}};
}

Json ct_weights(const PackSpec& spec, std::string_view scheme) {
  Json w = {{"num_bits", spec.bits},
            {"type", "float"},
            {"symmetric", spec.symmetric},
            {"dynamic", false},
            {"strategy", "group"}};
  if (scheme == "ct_packed") {
    w["type"] = "int";
    w["strategy"] = spec.group == 0 ? "channel" : "group";
    if (spec.group != 0) w["group_size"] = spec.group;
    w["actorder"] = spec.ordered ? Json("group") : Json(nullptr);
  } else if (scheme == "ct_nvfp4") {
    w["strategy"] = "tensor_group";
    w["group_size"] = 16;
    w["scale_dtype"] = "torch.float8_e4m3fn";
  } else if (scheme == "ct_mxfp4" || scheme == "mxfp8") {
    w["group_size"] = 32;
    w["scale_dtype"] = "torch.uint8";
  } else if (scheme == "fp8_block_ct") {
    w["strategy"] = "block";
    w["block_structure"] = {spec.block_rows, spec.block_cols};
  } else {
    w["strategy"] = scheme == "fp8_row" ? "channel" : "tensor";
  }
  const bool wide = scheme == "mxfp8" || scheme.starts_with("fp8");
  if (scheme != "ct_packed") w["num_bits"] = wide ? 8 : 4;
  return w;
}

Json ct_words(const WrittenWeights& written) {
  const std::string_view scheme = scheme_of(*written.spec.dialect).id;
  const char* format = scheme == "ct_packed"  ? "pack-quantized"
                       : scheme == "ct_nvfp4" ? "nvfp4-pack-quantized"
                       : scheme == "ct_mxfp4" ? "mxfp4-pack-quantized"
                       : scheme == "mxfp8"    ? "mxfp8-quantized"
                                              : "float-quantized";
  Json activations = nullptr;
  if (scheme == "ct_nvfp4") {
    activations = {{"num_bits", 4},
                   {"type", "float"},
                   {"symmetric", true},
                   {"strategy", "tensor_group"},
                   {"group_size", 16},
                   {"dynamic", "local"},
                   {"scale_dtype", "torch.float8_e4m3fn"}};
  } else if (scheme.starts_with("fp8")) {
    activations = {{"num_bits", 8},
                   {"type", "float"},
                   {"symmetric", true},
                   {"dynamic", true},
                   {"strategy", scheme == "fp8_block_ct" ? "group" : "token"}};
    if (scheme == "fp8_block_ct") activations["group_size"] = written.spec.block_cols;
  }
  Json group = {{"targets", {"Linear"}},
                {"format", format},
                {"weights", ct_weights(written.spec, scheme)},
                {"input_activations", std::move(activations)},
                {"output_activations", nullptr}};
  return {{"quant_method", "compressed-tensors"},
          {"format", format},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", std::move(group)}}},
          {"ignore",
           list({"lm_head", "model.embed_tokens", "re:.*block_sparse_moe\\.gate$", "re:.*norm$"},
                named(written, "re:.*self_attn\\.(q|k|v|o)_proj$"))},
          {"kv_cache_scheme", written.kv_cache_scheme}};
}

std::vector<std::string> modelopt_plain(const WrittenWeights& written) {
  std::vector<std::string> names = {"lm_head", "model.embed_tokens",
                                    "model.layers.*.block_sparse_moe.gate"};
  const auto then = named(written, "model.layers.*.self_attn*");
  names.insert(names.end(), then.begin(), then.end());
  return names;
}

Json modelopt_words(const WrittenWeights& written) {
  const Json four = {{"dynamic", false}, {"num_bits", 4}, {"type", "float"}, {"group_size", 16}};
  Json words = {
      {"quant_method", "modelopt"},
      {"quant_algo", "NVFP4"},
      {"producer", {{"name", "mm2"}, {"version", kProducerVersion}}},
      {"config_groups",
       {{"group_0", {{"input_activations", four}, {"weights", four}, {"targets", {"Linear"}}}}}},
      {"ignore", modelopt_plain(written)}};
  if (!written.kv_cache_scheme.is_null()) words["kv_cache_scheme"] = written.kv_cache_scheme;
  return words;
}

}  // namespace

Json quantization_words(const WrittenWeights& written) {
  const std::string_view name = written.spec.dialect->name;
  if (name.starts_with("gptq")) return gptq_words(written);
  if (name.starts_with("auto_round")) return auto_round_words(written);
  if (name == "awq") return awq_words(written);
  if (name == "fp8_block") return fp8_words(written);
  if (name == "nvfp4") return modelopt_words(written);
  return ct_words(written);
}

std::vector<SideFile> quantization_files(const WrittenWeights& written, const Json& words) {
  const std::string_view name = written.spec.dialect->name;
  if (name.starts_with("gptq")) return {{"quantize_config.json", config_text(words), ""}};
  if (name.starts_with("auto_round") || name == "awq") {
    return {{"quantization_config.json", config_text(words), ""}};
  }
  if (name != "nvfp4") return {};
  const bool kv = !written.kv_cache_scheme.is_null();
  const Json file = {{"producer", {{"name", "mm2"}, {"version", kProducerVersion}}},
                     {"quantization",
                      {{"quant_algo", "NVFP4"},
                       {"kv_cache_quant_algo", kv ? Json("FP8") : Json(nullptr)},
                       {"group_size", 16},
                       {"exclude_modules", modelopt_plain(written)}}}};
  return {{"hf_quant_config.json", config_text(file), ""}};
}

Json with_quantization(Json config, const Json& words, std::string_view dtype) {
  if (words.is_null()) {
    config.erase("quantization_config");
  } else {
    config["quantization_config"] = words;
  }
  if (dtype.empty()) return config;
  const bool has_dtype = config.contains("dtype");
  if (has_dtype) config["dtype"] = dtype;
  if (!has_dtype || config.contains("torch_dtype")) config["torch_dtype"] = dtype;
  return config;
}

}  // namespace mm2
