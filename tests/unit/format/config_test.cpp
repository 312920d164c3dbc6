#include "format/config.h"

#include <catch2/catch.hpp>
#include <vector>

#include "format/generation_config.h"
#include "temp_folder.h"

using namespace mm2;

namespace {

const std::string kModels = std::string(MM2_TEST_DATA) + "/models/";

// The official field set on small sizes.
Json base() {
  return Json::parse(
      R"({"architectures":["MiniMaxM2ForCausalLM"],"attn_type_list":[1,1],"head_dim":128,"hidden_act":"silu","hidden_size":64,
    "intermediate_size":32,"max_position_embeddings":2048,"model_type":"minimax_m2","num_attention_heads":8,"num_experts_per_tok":2,
    "num_hidden_layers":2,"num_key_value_heads":2,"num_local_experts":4,"num_mtp_modules":3,"qk_norm_type":"per_layer","rms_norm_eps":1e-06,
    "rope_theta":5000000,"rotary_dim":64,"scoring_func":"sigmoid","shared_intermediate_size":0,"tie_word_embeddings":false,"use_mtp":true,
    "use_qk_norm":true,"use_routing_bias":true,"vocab_size":512})");
}

Result<ModelConfig> parse(const Json& json) {
  return parse_config(json.dump(), "config.json", Log{});
}

// base() with one field set (or removed, for null).
Result<ModelConfig> with(const std::string& field, const Json& value) {
  Json json = base();
  json[field] = value;
  if (value.is_null()) json.erase(field);
  return parse(json);
}

std::string refusal(const std::string& field, const Json& value) {
  const auto config = with(field, value);
  return config.ok() ? "" : config.status().message();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("config: the official spelling") {
  const auto config = parse(base());
  REQUIRE(config.ok());
  CHECK(config->n_layers == 2);
  CHECK(config->hidden == 64);
  CHECK(config->n_heads == 8);
  CHECK(config->n_kv_heads == 2);
  CHECK(config->head_dim == 128);
  CHECK(config->rotary_dim == 64);
  CHECK(config->rope_theta == 5e6);
  CHECK(config->n_experts == 4);
  CHECK(config->top_k == 2);
  CHECK(config->intermediate == 32);
  CHECK(config->n_vocab == 512);
  CHECK(config->max_positions == 2048);
  CHECK(config->rms_norm_eps == 1e-6);
  CHECK(config->n_mtp_modules == 3);
  CHECK(config->q_width() == 1024);
  CHECK(config->kv_width() == 256);
  CHECK(config->quantization.is_null());
}

TEST_CASE("config: the quantisation stands under either of two names, or the same under both") {
  const Json fp8 = {{"quant_method", "fp8"}}, gptq = {{"quant_method", "gptq"}};
  CHECK(with("quantization_config", fp8)->quantization == fp8);
  CHECK(with("compression_config", fp8)->quantization == fp8);
  CHECK(contains(refusal("quantization_config", 4), "quantization_config is 4, must be an object"));
  Json both = base();
  both["quantization_config"] = both["compression_config"] = fp8;
  CHECK(parse(both)->quantization == fp8);
  both["compression_config"] = gptq;
  CHECK(contains(parse(both).status().message(), "compression_config"));
  CHECK(contains(parse(both).status().message(), "differs from quantization_config"));
}

TEST_CASE("config: every plain checkpoint of the test data, in all its spellings") {
  for (const char* name :
       {"bf16", "bf16_single", "f16", "f32", "pruned", "alias_fused", "alias_gate_up"}) {
    INFO(name);
    const auto config = load_config(kModels + name, Host{});
    REQUIRE(config.ok());
    CHECK(config->rotary_dim == config->head_dim / 2);
    CHECK(config->rope_theta == 5e6);
    CHECK(config->torch_dtype == (std::string(name) == "f32"   ? "float32"
                                  : std::string(name) == "f16" ? "float16"
                                                               : "bfloat16"));
    CHECK(config->n_experts == (std::string(name) == "pruned" ? 12
                                : std::string(name) == "bf16" ? 8
                                                              : 16));
  }
}

TEST_CASE(
    "config: the rotary width follows rope_parameters, then the top-level factor, then rotary_dim, "
    "then 64") {
  const auto width = [](Json rope, Json factor, Json stated) {
    Json json = base();
    json.erase("rotary_dim");
    if (!rope.is_null())
      json["rope_parameters"] = {
          {"rope_type", "default"}, {"rope_theta", 1e4}, {"partial_rotary_factor", rope}};
    if (!factor.is_null()) json["partial_rotary_factor"] = factor;
    if (!stated.is_null()) json["rotary_dim"] = stated;
    const auto config = parse(json);
    INFO(json.dump() << (config.ok() ? "" : config.status().message()));
    REQUIRE(config.ok());
    return config->rotary_dim;
  };
  CHECK(width(0.25, 0.5, 128) == 32);
  CHECK(width(nullptr, 0.5, 128) == 64);
  CHECK(width(nullptr, nullptr, 128) == 128);
  CHECK(width(nullptr, nullptr, nullptr) == 64);
  CHECK(width(1.0, nullptr, 64) == 64);  // a default that some tool wrote
  CHECK(width(1.0, nullptr, nullptr) == 128);
  CHECK(width(nullptr, 1.0, 32) == 32);
}

TEST_CASE(
    "config: rope_parameters goes before the top-level rope_theta, and only the plain rotation is "
    "known") {
  const auto config = with("rope_parameters", {{"rope_theta", 1e4}, {"rope_type", "default"}});
  REQUIRE(config.ok());
  CHECK(config->rope_theta == 1e4);
  CHECK(contains(refusal("rope_parameters", {{"rope_type", "yarn"}}), "yarn"));
  CHECK(contains(refusal("rope_scaling", {{"type", "linear"}, {"factor", 2}}), "linear"));
  CHECK_FALSE(refusal("rope_scaling", {{"factor", 2}}).empty());
  CHECK(refusal("rope_scaling", nullptr).empty());
  CHECK_FALSE(refusal("rope_theta", 0).empty());
  CHECK_FALSE(refusal("rope_theta", "5000000").empty());
}

TEST_CASE("config: num_experts is an alias, and must agree when both are there") {
  Json json = base();
  json.erase("num_local_experts");
  CHECK(contains(parse(json).status().message(), "num_local_experts is missing"));
  json["num_experts"] = 4;
  CHECK(parse(json).ok());
  json["num_local_experts"] = 5;
  CHECK(contains(parse(json).status().message(), "num_experts is 4"));
}

TEST_CASE(
    "config: sizes out of range or of the wrong type name the field, the value and the range") {
  for (const char* field :
       {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
        "head_dim", "intermediate_size", "vocab_size", "num_local_experts", "num_experts_per_tok",
        "max_position_embeddings"}) {
    for (const Json& value : std::vector<Json>{0, -1, "8", 8.5, 1000000000000,
                                               18446744073709551615u, true, Json::array({8})}) {
      INFO(field << " " << value.dump());
      CHECK(contains(refusal(field, value), field));
    }
  }
  for (const char* field :
       {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
        "head_dim", "intermediate_size", "vocab_size", "num_experts_per_tok"}) {
    CHECK(contains(refusal(field, nullptr), std::string(field) + " is missing"));
  }
  CHECK(contains(refusal("num_hidden_layers", 10001), "10001"));
  CHECK(contains(refusal("head_dim", 127), "even"));
  CHECK(contains(refusal("rms_norm_eps", -1e-6), "rms_norm_eps"));
}

TEST_CASE("config: layers times experts is bounded, so that a lie costs no memory") {
  Json json = base();
  json["num_hidden_layers"] = 10000;
  json["num_local_experts"] = 60000;
  CHECK(contains(parse(json).status().message(), "10000 times 60000"));
}

TEST_CASE("config: rotary widths that no head can hold are refused") {
  CHECK(contains(refusal("rotary_dim", 63), "even"));
  CHECK(contains(refusal("rotary_dim", 130), "head_dim"));
  CHECK(contains(refusal("partial_rotary_factor", 0.3), "partial_rotary_factor 0.3"));
  CHECK(contains(refusal("partial_rotary_factor", 1.5), "1.5"));
  CHECK_FALSE(refusal("partial_rotary_factor", 0.0).empty());
}

TEST_CASE("config: fields that leave the arithmetic alone are ignored, others refused by name") {
  const Json inert = Json::parse(
      R"({"mlp_intermediate_size":8192,"use_grouped_topk":true,"num_expert_group":null,"topk_group":null,"routed_scaling_factor":1.0,
    "layernorm_full_attention_beta":1.0,"layernorm_linear_attention_beta":1.0,"layernorm_mlp_beta":1.0,"shared_moe_mode":"sigmoid","attn_window_size":null,
    "swa_rope_theta":-1.0,"sliding_window":null,"router_aux_loss_coef":0.001,"router_jitter_noise":0.0,"max_model_len":null,"attention_dropout":0.0,
    "auto_map":{"AutoConfig":"x.Y"},"something_new":{"a":[1]}})");
  Json json = base();
  json.update(inert);
  CHECK(parse(json).ok());
  const std::vector<std::pair<std::string, Json>> meaningful = {
      {"hidden_act", "gelu"},         {"scoring_func", "softmax"},
      {"use_qk_norm", false},         {"qk_norm_type", "per_head"},
      {"use_routing_bias", false},    {"norm_topk_prob", false},
      {"n_shared_experts", 1},        {"shared_intermediate_size", 8},
      {"routed_scaling_factor", 2.5}, {"layernorm_mlp_beta", 3.5},
      {"num_expert_group", 4},        {"topk_group", 2},
      {"sliding_window", 4096},       {"attn_window_size", 128},
      {"attention_bias", true},       {"attn_type_list", Json::array({1, 0})}};
  for (const auto& [field, value] : meaningful) {
    const auto config = with(field, value);
    INFO(field);
    REQUIRE_FALSE(config.ok());
    CHECK(config.status().code() == Code::unsupported);
    CHECK(contains(config.status().message(), field));
  }
}

TEST_CASE("config: MTP modules count only when they are used") {
  Json json = base();
  json["use_mtp"] = false;
  CHECK(parse(json)->n_mtp_modules == 0);
}

TEST_CASE("config: contradictions that are settled by a rule are logged") {
  std::vector<std::string> lines;
  const Log log(LogLevel::warning, [&](LogLevel, std::string_view, std::string_view text) {
    lines.emplace_back(text);
  });
  Json json = base();
  json["rope_parameters"] = {{"rope_theta", 1e4}, {"partial_rotary_factor", 0.25}};
  json["attn_type_list"] = Json::array({1});
  REQUIRE(parse_config(json.dump(), "c", log).ok());
  CHECK(lines.size() == 3);
  lines.clear();
  REQUIRE(parse_config(base().dump(), "c", log).ok());
  CHECK(lines.empty());
}

TEST_CASE("config: JSON with any byte cut off the end is refused") {
  const std::string text = base().dump();
  for (size_t n = 0; n < text.size(); ++n) {
    REQUIRE_FALSE(parse_config(text.substr(0, n), "c", Log{}).ok());
  }
}

TEST_CASE("generation config: all fields, one end id or several, none at all") {
  const auto config = load_generation_config(kModels + "f32", Host{});
  REQUIRE(config.ok());
  CHECK(config->do_sample == true);
  CHECK(config->temperature == 1.0);
  CHECK(config->top_p == 0.95);
  CHECK(config->top_k == 40);
  CHECK(config->bos_token_id == 510);
  CHECK(config->eos_token_ids == std::vector<int32_t>{511});
  CHECK_FALSE(config->repetition_penalty);
  const auto several =
      parse_generation_config(R"({"eos_token_id":[7,9],"repetition_penalty":1.1})", "g");
  REQUIRE(several.ok());
  CHECK(several->eos_token_ids == std::vector<int32_t>{7, 9});
  CHECK(several->repetition_penalty == 1.1);
  const TempFolder folder;
  const auto absent = load_generation_config(folder.path(), Host{});
  REQUIRE(absent.ok());
  CHECK_FALSE(absent->temperature);
  for (const char* bad :
       {R"({"eos_token_id":-1})", R"({"eos_token_id":[1,"2"]})", R"({"eos_token_id":4294967296})",
        R"({"top_p":2})", R"({"temperature":-1})", R"({"temperature":"1"})", R"({"do_sample":1})",
        R"({"top_k":1.5})", "[]", "{"}) {
    INFO(bad);
    CHECK_FALSE(parse_generation_config(bad, "g").ok());
  }
}
