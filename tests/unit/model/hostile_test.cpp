// Checkpoints whose files are well-formed and whose contents cannot be: each is refused with a
// sentence that names file, tensor, place and numbers.
#include <cfloat>
#include <functional>
#include <limits>

#include "kernels/api/numbers.h"
#include "model/model.h"
#include "support/edited.h"

using mm2::Code;
using mm2::Dtype;
using mm2::Host;
using mm2::Model;
using mm2::Status;
using support::EditedModel;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
const std::string kAttn = "model.layers.0.self_attn.";
const std::string kMoe = "model.layers.0.block_sparse_moe.";
const std::string kExpert = kMoe + "experts.3.w1.";

struct Loaded {
  Status status;
  std::vector<std::string> warnings;
};

Loaded load(EditedModel& model, mm2::Isa isa = mm2::Isa::automatic) {
  Loaded loaded;
  Host host;
  host.log =
      mm2::Log(mm2::LogLevel::warning, [&](mm2::LogLevel, std::string_view, std::string_view text) {
        loaded.warnings.emplace_back(text);
      });
  loaded.status = Model::load(model.save(), {.isa = isa, .n_threads = 2}, host).status();
  return loaded;
}

struct Case {
  const char* what;
  const char* folder;
  std::function<void(EditedModel&)> damage;
  std::vector<std::string> named;  // in the message
};

void refuse(const Case& c) {
  EditedModel model(c.folder);
  c.damage(model);
  for (const mm2::Isa isa : {mm2::Isa::generic, mm2::Isa::reference}) {
    const Loaded loaded = load(model, isa);
    INFO(c.what << ": " << loaded.status.message());
    REQUIRE_FALSE(loaded.status.ok());
    CHECK(loaded.status.code() != Code::internal);
    for (const std::string& name : c.named) {
      INFO(name);
      CHECK(loaded.status.message().find(name) != std::string::npos);
    }
  }
}

template <typename T>
std::function<void(EditedModel&)> set(const std::string& name, size_t i, T value) {
  return [=](EditedModel& model) {
    EditedModel::Tensor& tensor = model.at(name);
    REQUIRE((i + 1) * sizeof(T) <= tensor.bytes.size());
    tensor.as<T>()[i] = value;
  };
}

std::function<void(EditedModel&)> set_quant(const char* field, const mm2::Json& value) {
  return [=](EditedModel& model) { model.quant()[field] = value; };
}

}  // namespace

TEST_CASE("hostile: an unchanged copy of every checkpoint used here loads") {
  for (const char* folder : {"bf16", "fp8", "gptq", "gptq_desc_act", "autoround", "awq", "ct_mixed",
                             "ct_nvfp4", "ct_mxfp4", "ct_w4a16_asym", "nvfp4_modelopt"}) {
    EditedModel model(folder);
    const Loaded loaded = load(model);
    INFO(folder << ": " << loaded.status.message());
    CHECK(loaded.status.ok());
    CHECK(loaded.warnings.empty());
  }
}

TEST_CASE("hostile: shapes that do not fit the configuration") {
  const Case cases[] = {
      {"rows of q_proj",
       "bf16",
       [](EditedModel& m) {
         m.reshape(kAttn + "q_proj.weight", {320, 256});
       },
       {"model.safetensors", kAttn + "q_proj.weight", "[320, 256]", "[384, 256]"}},
      {"rows of FP8 codes",
       "fp8",
       [](EditedModel& m) {
         m.reshape(kAttn + "q_proj.weight", {320, 256});
       },
       {kAttn + "q_proj.weight", "[320, 256]", "[384, 256]", "fp8 block 128x128"}},
      {"block grid",
       "fp8",
       [](EditedModel& m) {
         m.reshape(kAttn + "q_proj.weight_scale_inv", {2, 2});
       },
       {kAttn + "q_proj.weight_scale_inv", "[2, 2]", "[3, 2]"}},
      {"packed width",
       "gptq",
       [](EditedModel& m) {
         m.reshape(kExpert + "qweight", {33, 128});
       },
       {kExpert + "qweight", "[33, 128]", "[32, 128]", "4 bit"}},
      {"packed width of compressed-tensors",
       "ct_mixed",
       [](EditedModel& m) {
         m.reshape(kExpert + "weight_packed", {128, 31});
       },
       {kExpert + "weight_packed", "[128, 31]", "[128, 32]"}},
      {"packed width of NVFP4",
       "ct_nvfp4",
       [](EditedModel& m) {
         m.reshape(kExpert + "weight_packed", {128, 127});
       },
       {kExpert + "weight_packed", "[128, 127]", "[128, 128]"}},
      {"zeros of AWQ",
       "awq",
       [](EditedModel& m) {
         m.reshape("model.layers.1.block_sparse_moe.experts.3.w1.qzeros", {2, 15});
       },
       {"experts.3.w1.qzeros", "[2, 15]", "[2, 16]"}},
      {"stored shape",
       "ct_mixed",
       set<int64_t>(kExpert + "weight_shape", 1, 128),
       {kExpert + "weight_shape", "[128, 128]", "[128, 256]"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: what is missing is named") {
  const Case cases[] = {
      {"the last expert",
       "gptq",
       [](EditedModel& m) { m.drop(kMoe + "experts.7.w2."); },
       {"1 tensor is missing", kMoe + "experts.7.w2.weight"}},
      {"a scale",
       "fp8",
       [](EditedModel& m) { m.drop(kExpert + "weight_scale_inv"); },
       {kExpert + "weight", "F8_E4M3", kExpert + "weight_scale_inv is missing"}},
      {"scales of GPTQ",
       "gptq",
       [](EditedModel& m) { m.drop(kExpert + "scales"); },
       {kExpert + "qweight", kExpert + "scales is missing"}},
      {"a global scale",
       "ct_nvfp4",
       [](EditedModel& m) { m.drop(kExpert + "weight_global_scale"); },
       {kExpert + "weight_packed", kExpert + "weight_global_scale is missing"}},
      {"a global scale of ModelOpt",
       "nvfp4_modelopt",
       [](EditedModel& m) { m.drop(kExpert + "weight_scale_2"); },
       {kExpert + "weight", kExpert + "weight_scale_2 is missing"}},
      {"the map of groups",
       "gptq_desc_act",
       [](EditedModel& m) { m.drop(kExpert + "g_idx"); },
       {kExpert + "g_idx is missing", "ordered by activation"}},
      {"zeros",
       "ct_w4a16_asym",
       [](EditedModel& m) { m.drop(kExpert + "weight_zero_point"); },
       {kExpert + "weight_zero_point is missing", "not symmetric", "config_groups: group_0"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: scales that cannot be, by what is wrong with them") {
  const std::string inv = kExpert + "weight_scale_inv";
  const std::string ct = kAttn + "o_proj.weight_scale";  // BF16 [2, 3]
  const Case cases[] = {
      {"NaN", "fp8", set<float>(inv, 1, kNan), {inv, "[0, 1]", "is NaN"}},
      {"infinity", "fp8", set<float>(inv, 1, kInf), {inv, "[0, 1]", "is infinity"}},
      {"-infinity", "fp8", set<float>(inv, 0, -kInf), {inv, "[0, 0]", "is -infinity"}},
      {"negative", "fp8", set<float>(inv, 0, -0.5f), {inv, "[0, 0]", "is -0.5", "not be negative"}},
      {"zero", "fp8", set<float>(inv, 1, 0.0f), {inv, "[0, 1]", "is 0", "the code at [0, 128]"}},
      {"denormal", "fp8", set<float>(inv, 1, 1e-40f), {inv, "[0, 1]", "e-41", "the code at"}},
      {"too large", "fp8", set<float>(inv, 1, 3e38f), {inv, "[0, 1]", "is 3e+38"}},
      {"NaN in BF16", "ct_mixed", set<uint16_t>(ct, 4, 0x7FC0), {ct, "[1, 1]", "is NaN"}},
      {"zero in BF16", "ct_mixed", set<uint16_t>(ct, 5, 0), {ct, "[1, 2]", "is 0"}},
      {"NaN in F16",
       "gptq",
       set<uint16_t>(kExpert + "scales", 130, 0x7E00),
       {kExpert + "scales", "[1, 2]", "is NaN"}},
      {"infinity in F16",
       "autoround",
       set<uint16_t>(kExpert + "scales", 0, 0xFC00),
       {kExpert + "scales", "[0, 0]", "is -infinity"}},
      {"NaN in E4M3",
       "ct_nvfp4",
       set<uint8_t>(kExpert + "weight_scale", 17, 0x7F),
       {kExpert + "weight_scale", "[1, 1]", "is NaN"}},
      {"negative in E4M3",
       "nvfp4_modelopt",
       set<uint8_t>(kExpert + "weight_scale", 33, 0xB8),
       {kExpert + "weight_scale", "[2, 1]", "is -1"}},
      {"NaN in E8M0",
       "ct_mxfp4",
       set<uint8_t>(kExpert + "weight_scale", 9, 0xFF),
       {kExpert + "weight_scale", "[1, 1]", "is NaN"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: scales that look odd and are what tools write") {
  const auto accept = [](const char* folder, const std::function<void(EditedModel&)>& change) {
    EditedModel model(folder);
    change(model);
    const Loaded loaded = load(model);
    INFO(loaded.status.message());
    CHECK(loaded.status.ok());
  };
  // A scale of integers has a sign; types that underflow may hold 0, and the smallest power of two.
  accept("gptq", set<uint16_t>(kExpert + "scales", 0, 0xB000));
  accept("gptq", set<uint16_t>(kExpert + "scales", 0, 0));
  accept("gptq", set<uint16_t>(kExpert + "scales", 0, 1));
  accept("ct_nvfp4", set<uint8_t>(kExpert + "weight_scale", 17, 0));
  accept("ct_mxfp4", set<uint8_t>(kExpert + "weight_scale", 9, 0));
  // Over codes that all stand for 0, a scale of 0 loses nothing.
  accept("fp8", [](EditedModel& m) {
    m.at(kExpert + "weight_scale_inv").as<float>()[0] = 0;
    auto& codes = m.at(kExpert + "weight");
    for (size_t row = 0; row < 128; ++row) {
      for (size_t k = 0; k < 128; ++k) codes.as<uint8_t>()[row * 256 + k] = k % 2 == 0 ? 0 : 0x80;
    }
  });
}

TEST_CASE("hostile: global scales") {
  const std::string two = kExpert + "weight_scale_2", ct = kExpert + "weight_global_scale";
  const Case cases[] = {
      {"zero",
       "nvfp4_modelopt",
       set<float>(two, 0, 0.0f),
       {"model.safetensors", two, "the global scale is 0", "above 0"}},
      {"negative", "nvfp4_modelopt", set<float>(two, 0, -1.0f), {two, "is -1", "not be negative"}},
      {"NaN", "nvfp4_modelopt", set<float>(two, 0, kNan), {two, "is NaN"}},
      {"infinity", "ct_nvfp4", set<float>(ct, 0, kInf), {ct, "is infinity"}},
      {"zero to divide by", "ct_nvfp4", set<float>(ct, 0, 0.0f), {ct, "is 0"}},
      {"denormal", "nvfp4_modelopt", set<float>(two, 0, 1e-41f), {two, "normal numbers"}},
      {"too small to divide by",
       "ct_nvfp4",
       set<float>(ct, 0, 1e-37f),
       {ct, "1e-37", "must be from"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: codes and biases that are not numbers") {
  const Case cases[] = {
      {"0x7F",
       "fp8",
       set<uint8_t>(kExpert + "weight", 256 * 5 + 7, 0x7F),
       {kExpert + "weight", "the code at [5, 7] is 0x7F", "NaN"}},
      {"0xFF",
       "ct_mixed",
       set<uint8_t>(kAttn + "v_proj.weight", 256 * 63 + 255, 0xFF),
       {kAttn + "v_proj.weight", "the code at [63, 255] is 0xFF"}},
      {"router bias NaN",
       "fp8",
       set<float>(kMoe + "e_score_correction_bias", 6, kNan),
       {kMoe + "e_score_correction_bias", "[6] is NaN"}},
      {"router bias infinite",
       "gptq",
       set<uint16_t>(kMoe + "e_score_correction_bias", 2, 0xFF80),
       {kMoe + "e_score_correction_bias", "[2] is -infinity"}},
      {"norm NaN",
       "bf16",
       set<uint16_t>("model.norm.weight", 255, 0x7FC0),
       {"model.norm.weight", "[255] is NaN"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: maps of columns to groups") {
  const std::string map = kExpert + "g_idx";  // [256], groups of 32
  const Case cases[] = {
      {"above", "gptq_desc_act", set<int32_t>(map, 100, 8), {map, "[100] is 8", "0 to 7"}},
      {"below", "gptq_desc_act", set<int32_t>(map, 0, -1), {map, "[0] is -1", "0 to 7"}},
      {"far above", "gptq_desc_act", set<int32_t>(map, 9, INT32_MAX), {map, "[9] is 2147483647"}},
      {"all in one",
       "gptq_desc_act",
       [&](EditedModel& m) { std::fill_n(m.at(map).as<int32_t>(), 256, 3); },
       {map, "group 0 has 0 columns, must have 32"}},
      {"one too many",
       "gptq_desc_act",
       [&](EditedModel& m) {
         int32_t* groups = m.at(map).as<int32_t>();
         *std::find(groups, groups + 256, 0) = 5;
       },
       {map, "group 0 has 31 columns, must have 32"}},
      {"an order without desc_act",
       "gptq",
       set<int32_t>(map, 200, 0),
       {map, "[200] is 0", "without desc_act column 200 is of group 1"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: configurations that contradict the tensors") {
  const Case cases[] = {
      {"bits",
       "gptq",
       set_quant("bits", 8),
       {"q_proj.qweight", "[32, 384] is that of 4 bit codes", "quantization_config says 8 bits"}},
      {"group",
       "gptq",
       set_quant("group_size", 64),
       {".scales", "is that of groups of 128", "says group_size 64"}},
      {"sym",
       "awq_tool_names",
       [](EditedModel& m) { m.quant()["bits"] = 2; },
       {"qweight", "4 bit codes", "says 2 bits"}},
      {"zeros that are not symmetric",
       "gptq",
       set<int32_t>(kExpert + "qzeros", 16, 0x77777787),
       {kExpert + "qzeros", "the zero of group 1 of output 1 is 9", "sym is true", "makes it 8"}},
      {"symmetric with zeros",
       "ct_w4a16_asym",
       [](EditedModel& m) { m.quant()["config_groups"]["group_0"]["weights"]["symmetric"] = true; },
       {"weight_zero_point: there are zeros", "group_0 says that codes are symmetric"}},
      {"type",
       "ct_mixed",
       [](EditedModel& m) { m.quant()["config_groups"]["group_1"]["weights"]["type"] = "float"; },
       {"weight_packed", "integers codes", "group_1 says type float"}},
      {"group of one of two groups",
       "ct_mixed",
       [](EditedModel& m) { m.quant()["config_groups"]["group_1"]["weights"]["group_size"] = 128; },
       {"weight_scale", "groups of 32", "group_1 says group_size 128"}},
      {"blocks",
       "ct_mixed",
       [](EditedModel& m) {
         m.quant()["config_groups"]["group_0"]["weights"]["block_structure"] = {64, 64};
       },
       {"q_proj.weight_scale", "[3, 2]", "[6, 4]", "fp8 block 64x64"}},
      {"group of a format that has one",
       "nvfp4_modelopt",
       [](EditedModel& m) { m.quant()["config_groups"]["group_0"]["weights"]["group_size"] = 32; },
       {"nvfp4 (ModelOpt) has groups of 16", "says group_size 32"}},
      {"one layer's override",
       "autoround",
       [](EditedModel& m) {
         m.quant()["extra_config"][kExpert.substr(0, kExpert.size() - 1)] = {{"bits", 8}};
       },
       {kExpert + "qweight", "4 bit codes",
        "extra_config: \"model.layers.0.block_sparse_moe.experts.3.w1\" says 8 bits"}},
      {"a dynamic override",
       "gptq",
       [](EditedModel& m) {
         m.quant()["dynamic"] = {{"+:.*\\.w2$", {{"group_size", 64}}}};
       },
       {"w2.scales", "groups of 128", "dynamic: \"+:.*", "says group_size 64"}},
      {"another file",
       "gptq",
       [](EditedModel& m) {
         m.folder().write("quantize_config.json", R"({"bits":4,"group_size":32})");
       },
       {"config.json: quantization_config: group_size is 128", "quantize_config.json says 32"}},
      {"no configuration",
       "gptq",
       [](EditedModel& m) { m.config.erase("quantization_config"); },
       {"qweight", "I32", "without quantization_config"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: contradictions that are known and harmless are warnings") {
  const auto warned = [](EditedModel& model, const std::vector<std::string>& named) {
    const Loaded loaded = load(model);
    INFO(loaded.status.message());
    REQUIRE(loaded.status.ok());
    REQUIRE(loaded.warnings.size() == 1);
    for (const std::string& name : named) {
      INFO(loaded.warnings[0]);
      CHECK(loaded.warnings[0].find(name) != std::string::npos);
    }
  };
  EditedModel skipped("gptq");
  skipped.quant()["dynamic"] = {{"-:.*layers\\.0\\..*experts\\..*", mm2::Json::object()}};
  warned(skipped, {"dynamic: \"-:", "experts.0.w1.qweight is gptq 4 bit group 128", "23 more"});

  // Zeros of 8 under the name of v1, which would mean 9; sym is true.
  EditedModel v2("gptq_v2");
  v2.quant()["checkpoint_format"] = v2.quant()["format"] = "gptq";
  warned(v2, {"symmetric", "gptq_v2"});

  EditedModel lookahead("gptq");
  lookahead.quant()["dynamic"] = {{"-:(?!x).*", mm2::Json::object()}};
  warned(lookahead, {"(?!x)", "passed over"});
}

TEST_CASE("hostile: weights that must be plain, groups that no kernel takes") {
  const Case cases[] = {
      {"embedding",
       "fp8",
       [](EditedModel& m) {
         m.drop("model.embed_tokens.weight");
         m.add("model.embed_tokens.weight", Dtype::f8_e4m3, {260, 256},
               std::string(260 * 256, '\0'));
         m.add("model.embed_tokens.weight_scale_inv", Dtype::f32, {3, 2}, std::string(24, '\0'));
       },
       {"model.embed_tokens.weight", "fp8 block 128x128", "embedding must be plain"}},
      {"router",
       "fp8",
       [](EditedModel& m) {
         m.drop(kMoe + "gate.weight");
         m.add(kMoe + "gate.weight", Dtype::f8_e4m3, {8, 256}, std::string(8 * 256, '\0'));
         m.add(kMoe + "gate.weight_scale_inv", Dtype::f32, {1, 2}, std::string(8, '\0'));
       },
       {kMoe + "gate.weight", "router must be plain"}},
      {"groups of 16",
       "ct_mixed",
       [](EditedModel& m) {
         m.reshape(kExpert + "weight_scale", {128, 16});
         m.quant()["config_groups"]["group_1"]["weights"].erase("group_size");
       },
       {kExpert + "weight_packed", "4 bit group 16", "no kernel takes"}},
  };
  for (const Case& c : cases) refuse(c);
}

TEST_CASE("hostile: KV scales") {
  const std::string k = "model.layers.1.self_attn.k_proj.k_scale";
  const std::string v = "model.layers.1.self_attn.v_proj.v_scale";
  const std::string ct = "model.layers.0.self_attn.k_scale";
  const Case cases[] = {
      {"zero",
       "nvfp4_modelopt",
       set<float>(k, 0, 0.0f),
       {k, "the KV scale at [0] is 0", "above 0"}},
      {"NaN", "nvfp4_modelopt", set<float>(v, 0, kNan), {v, "[0] is NaN"}},
      {"negative", "nvfp4_modelopt", set<float>(v, 0, -0.1f), {v, "is -0.1"}},
      {"zero in BF16", "ct_mixed", set<uint16_t>(ct, 0, 0), {ct, "is 0"}},
      {"infinite in BF16", "ct_mixed", set<uint16_t>(ct, 0, 0x7F80), {ct, "is infinity"}},
      {"one layer without",
       "nvfp4_modelopt",
       [&](EditedModel& m) { m.drop(k); },
       {"layer 0 has a scale of keys, layer 1 has none"}},
      {"mixed shapes",
       "nvfp4_modelopt",
       [&](EditedModel& m) { m.reshape(k, {2}); },
       {k, "[2]", "but layer 0 has model.layers.0.self_attn.k_proj.k_scale []"}},
      {"mixed names",
       "nvfp4_modelopt",
       [&](EditedModel& m) { m.rename(k, "model.layers.1.self_attn.k_scale"); },
       {"model.layers.1.self_attn.k_scale",
        "but layer 0 has model.layers.0.self_attn.k_proj.k_scale"}},
      {"two names in a layer",
       "ct_mixed",
       [&](EditedModel& m) {
         m.add("model.layers.0.self_attn.attn.k_scale", Dtype::f32, {}, std::string(4, '\1'));
       },
       {"attn.k_scale", "layer 0 has model.layers.0.self_attn.k_scale for the same"}},
      {"number of heads",
       "ct_mixed",
       [&](EditedModel& m) {
         m.reshape("model.layers.0.self_attn.k_scale", {3});
         m.reshape("model.layers.1.self_attn.k_scale", {3});
       },
       {"k_scale: it is BF16 [3]", "1 element or 2"}},
  };
  for (const Case& c : cases) refuse(c);
}
