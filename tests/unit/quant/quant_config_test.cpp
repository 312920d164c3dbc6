// What configurations say: general words, words for some layers, files beside config.json.
#include "quant/quant_config.h"

#include <catch2/catch.hpp>

#include "unit/format/temp_folder.h"

using namespace mm2;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Result<QuantConfig> parse(const char* text) {
  return parse_quant_config(Json::parse(text), "config.json");
}

QuantConfig parsed(const char* text) {
  auto config = parse(text);
  INFO(config.status().message());
  REQUIRE(config.ok());
  return *config;
}

WeightPlace expert(int32_t layer, int32_t number, Role role = Role::w1) {
  WeightPlace place;
  place.role = role;
  place.layer = layer;
  place.expert = number;
  place.stem =
      join("model.layers.", layer, ".block_sparse_moe.experts.", number, ".", role_name(role));
  place.name = place.stem + ".weight";
  return place;
}

WeightPlace attention(int32_t layer, const char* last) {
  WeightPlace place;
  place.role = Role::q_proj;
  place.layer = layer;
  place.stem = join("model.layers.", layer, ".self_attn.", last);
  place.name = place.stem + ".weight";
  return place;
}

}  // namespace

TEST_CASE("quant config: zero conventions and layouts have many names") {
  const std::tuple<const char*, const char*> good[] = {
      {R"({"quant_method":"gptq"})", "gptq"},
      {R"({"quant_method":"gptq","checkpoint_format":"gptq_v2"})", "gptq_v2"},
      {R"({"quant_method":"gptq","format":"gptq_v2"})", "gptq_v2"},
      {R"({"quant_method":"awq","version":"GEMM"})", "awq"},
      {R"({"quant_method":"auto-round","packing_format":"auto_round:auto_gptq"})", "gptq"},
      {R"({"quant_method":"auto-round","packing_format":"auto_round:gptq:exllamav2"})", "gptq"},
      {R"({"quant_method":"auto-round","packing_format":"auto_round:gptqmodel"})", "gptq_v2"},
      {R"({"quant_method":"auto-round","packing_format":"auto_round"})", "gptq_v2"},
      {R"({"quant_method":"auto-round","packing_format":"auto_round:auto_awq"})", "awq"},
      {R"({"quant_method":"auto-round","sym":true})", "gptq"},
      {R"({"quant_method":"fp8"})", ""},
  };
  for (const auto& [text, layout] : good) {
    INFO(text);
    CHECK(parsed(text).layout == layout);
  }
  const std::tuple<const char*, const char*> bad[] = {
      {R"({"quant_method":"gptq","checkpoint_format":"marlin"})", "\"marlin\""},
      {R"({"quant_method":"gptq","checkpoint_format":"gptq","format":"gptq_v2"})",
       "must be the same"},
      {R"({"quant_method":"awq","version":"gemv"})", "gemv"},
      {R"({"quant_method":"auto-round","packing_format":"itrex"})", "itrex"},
      {R"({"quant_method":"auto-round","sym":false})", "packing_format is missing"},
  };
  for (const auto& [text, named] : bad) {
    INFO(text);
    CHECK(contains(parse(text).status().message(), named));
  }
}

TEST_CASE("quant config: extra_config of AutoRound overrides by name and by pattern") {
  const QuantConfig config = parsed(R"({"quant_method":"auto-round","bits":4,"group_size":128,
    "sym":true,"packing_format":"auto_round:auto_gptq","extra_config":{
      "lm_head":{"bits":16,"data_type":"float"},
      "model.layers.0.mlp.experts.3.gate_proj":{"bits":8,"group_size":32},
      ".*experts\\.5\\..*":{"sym":false},
      "model.layers.1.block_sparse_moe.experts.5.w1":{"bits":2}}})");
  CHECK(config.about(expert(0, 0)).words.bits == 4);
  CHECK(config.about(expert(0, 0)).by == "config.json: quantization_config");
  // By the name that transformers 5 gives it.
  CHECK(config.about(expert(0, 3)).words.bits == 8);
  CHECK(config.about(expert(0, 3)).words.group_size == 32);
  CHECK(config.about(expert(0, 3)).words.symmetric == true);
  CHECK(config.about(expert(0, 5)).words.symmetric == false);
  CHECK(config.about(expert(1, 5)).words.bits == 2);
  CHECK(contains(config.about(expert(1, 5)).by, "extra_config: \"model.layers.1"));
  WeightPlace head;
  head.role = Role::lm_head;
  head.stem = "lm_head";
  head.name = "lm_head.weight";
  CHECK(config.about(head).words.plain);
}

TEST_CASE("quant config: dynamic of GPTQModel, the first pattern that matches") {
  const QuantConfig config = parsed(R"({"quant_method":"gptq","bits":4,"group_size":128,"sym":true,
    "dynamic":{"-:.*layers\\.0\\..*":{},"+:.*\\.w2$":{"bits":8,"desc_act":true},
               ".*layers\\.1\\..*":{"group_size":32}}})");
  CHECK(config.about(expert(0, 1)).words.plain);
  CHECK(config.about(expert(1, 1, Role::w2)).words.bits == 8);
  CHECK(config.about(expert(1, 1, Role::w2)).words.desc_act == true);
  CHECK(config.about(expert(1, 1, Role::w2)).words.group_size == 128);
  CHECK(config.about(expert(1, 1)).words.group_size == 32);
  CHECK(config.about(expert(2, 1)).words.group_size == 128);
  CHECK_FALSE(config.about(expert(2, 1)).words.desc_act.has_value());
}

TEST_CASE("quant config: config_groups say it for their targets") {
  const QuantConfig config = parsed(R"({"quant_method":"compressed-tensors","config_groups":{
    "group_0":{"targets":["re:.*self_attn\\.(q|k)_proj$"],
               "weights":{"num_bits":8,"type":"float","block_structure":[64,32],"group_size":null}},
    "group_1":{"targets":["Linear"],
               "weights":{"num_bits":4,"type":"int","group_size":32,"symmetric":false,
                          "actorder":"group"}},
    "group_2":{"targets":["model.layers.0.self_attn.o_proj"],
               "weights":{"num_bits":8,"type":"int","block_structure":"64x128","actorder":"weight"}}}})");
  const QuantWords q = config.about(attention(0, "q_proj")).words;
  CHECK((q.bits == 8 && q.codes == QuantWords::Codes::floating));
  CHECK((q.block_rows == 64 && q.block_cols == 32 && q.group_size == 0));
  const QuantWords v = config.about(attention(0, "v_proj")).words;
  CHECK((v.bits == 4 && v.codes == QuantWords::Codes::integer && v.group_size == 32));
  CHECK((v.symmetric == false && v.desc_act == true));
  const QuantWords o = config.about(attention(0, "o_proj")).words;
  CHECK((o.bits == 8 && o.block_cols == 128 && !o.desc_act.has_value()));
  CHECK(contains(config.about(attention(1, "k_proj")).by, "config_groups: group_0"));
}

TEST_CASE("quant config: a pattern that cannot be matched is a remark, a broken one an error") {
  const QuantConfig config =
      parsed(R"({"quant_method":"gptq","bits":4,"dynamic":{"-:.*(?!experts).*":{}}})");
  REQUIRE(config.remarks.size() == 1);
  CHECK(contains(config.remarks[0], "(?!experts)"));
  CHECK(contains(config.remarks[0], "passed over"));
  const Status broken = parse(R"({"quant_method":"gptq","dynamic":{"+:a(":{}}})").status();
  CHECK(contains(broken.message(), "dynamic: \"+:a(\""));
  CHECK(contains(parse(R"({"quant_method":"gptq","dynamic":{"+:a":4}})").status().message(),
                 "must be an object"));
  CHECK(contains(parse(R"({"quant_method":"gptq","dynamic":{"a":{"bits":99}}})").status().message(),
                 "dynamic: \"a\": bits is 99"));
}

TEST_CASE("quant config: files beside config.json stand in for it, or must agree with it") {
  const TempFolder folder;
  const Json none;
  const auto load = [&](const Json& main) {
    return load_quant_config(main, folder.path(), Host{});
  };
  REQUIRE(load(none).ok());
  CHECK(load(none)->method.empty());

  // AutoGPTQ's file names no method.
  folder.write("quantize_config.json",
               R"({"bits":4,"group_size":128,"desc_act":false,"sym":true})");
  REQUIRE(load(none).ok());
  CHECK(load(none)->method == "gptq");
  CHECK(load(none)->words.group_size == 128);
  CHECK(load(Json::parse(R"({"quant_method":"gptq","bits":4,"group_size":128})")).ok());
  const Status other_bits = load(Json::parse(R"({"quant_method":"gptq","bits":8})")).status();
  CHECK(contains(other_bits.message(), "config.json: quantization_config: bits is 8, but "));
  CHECK(contains(other_bits.message(), "quantize_config.json says 4"));
  CHECK(contains(load(Json::parse(R"({"quant_method":"gptq","sym":false})")).status().message(),
                 "sym is false"));
  CHECK(contains(load(Json::parse(R"({"quant_method":"awq"})")).status().message(),
                 "quant_method is \"awq\""));

  folder.write("quantization_config.json",
               R"({"quant_method":"gptq","checkpoint_format":"gptq_v2"})");
  CHECK(contains(load(none).status().message(), "\"gptq_v2\", but "));

  const TempFolder modelopt;
  modelopt.write(
      "hf_quant_config.json",
      R"({"producer":{"name":"modelopt"},"quantization":{"quant_algo":"NVFP4","group_size":16}})");
  const auto config = load_quant_config(none, modelopt.path(), Host{});
  REQUIRE(config.ok());
  CHECK(config->method == "modelopt");
  CHECK(config->algorithm == "NVFP4");
  CHECK(contains(load_quant_config(Json::parse(R"({"quant_method":"modelopt","quant_algo":"FP8"})"),
                                   modelopt.path(), Host{})
                     .status()
                     .message(),
                 "quant_algo is \"FP8\", but "));
  modelopt.write("hf_quant_config.json", "[]");
  CHECK(contains(load_quant_config(none, modelopt.path(), Host{}).status().message(),
                 "must hold a JSON object"));
}
