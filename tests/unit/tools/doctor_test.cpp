// doctor: each finding from a checkpoint that has that fault and no other.
#include <cmath>
#include <cstring>
#include <filesystem>

#include "support/edited.h"
#include "unit/tools/run_verb.h"

using namespace mm2;
using support::EditedModel;
using verbs::run;
using verbs::says;

namespace {

struct Diagnosis {
  Status status;
  Json report;

  // The findings of one check, "cold experts".
  std::vector<Json> of(const std::string& check) const {
    std::vector<Json> found;
    for (const Json& finding : report.at("findings")) {
      if (finding.at("check") == check) found.push_back(finding);
    }
    return found;
  }
  // Its only finding.
  Json one(const std::string& check) const {
    INFO(report.dump(1));
    REQUIRE(of(check).size() == 1);
    return of(check)[0];
  }
};

Diagnosis diagnose(const std::string& model, Json more = Json::object()) {
  more["model"] = model;
  auto ran = run("doctor", more);
  INFO(ran.status.message());
  REQUIRE((ran.status.ok() || ran.status.code() == Code::check_failed));
  REQUIRE(ran.report.contains("findings"));
  for (const Json& finding : ran.report.at("findings")) {
    for (const char* member : {"check", "severity", "where", "found", "effect", "remedy"}) {
      CHECK_FALSE(finding.at(member).get<std::string>().empty());
    }
  }
  return {ran.status, ran.report};
}

bool tells(const Json& finding, const char* member, const std::string& part) {
  return finding.at(member).get<std::string>().find(part) != std::string::npos;
}

std::string expert(int layer, int id, const std::string& rest) {
  return join("model.layers.", layer, ".block_sparse_moe.experts.", id, ".", rest);
}

void set_kv_scales(EditedModel& model, float k, float v) {
  for (int layer = 0; layer < 2; ++layer) {
    const std::string attention = join("model.layers.", layer, ".self_attn.");
    *model.at(attention + "k_proj.k_scale").as<float>() = k;
    *model.at(attention + "v_proj.v_scale").as<float>() = v;
  }
}

}  // namespace

TEST_CASE("doctor: no golden checkpoint has an error, and all lack the tokenizer's files") {
  for (const auto& entry : std::filesystem::directory_iterator(golden::kModels)) {
    if (!entry.is_directory()) continue;
    INFO(entry.path().string());
    const Diagnosis found = diagnose(entry.path().string());
    CHECK(found.status.ok());
    CHECK(found.report.at("errors") == 0);
    const bool complete = std::filesystem::exists(entry.path() / "tokenizer.json") &&
                          std::filesystem::exists(entry.path() / "tokenizer_config.json");
    CHECK(found.of("files").empty() == complete);
  }
}

TEST_CASE("doctor: what cannot be opened is a finding with the tensor and the numbers") {
  EditedModel lacking("bf16_single");
  lacking.drop("model.layers.1.self_attn.k_proj.weight");
  const Json missing = diagnose(lacking.save()).one("checkpoint");
  CHECK(missing.at("severity") == "error");
  CHECK(tells(missing, "found", "model.layers.1.self_attn.k_proj"));

  EditedModel cut("bf16_single");  // the bias of a model whose experts were pruned without it
  const std::string bias = "model.layers.0.block_sparse_moe.e_score_correction_bias";
  cut.reshape(bias, {12});
  const Diagnosis shorter = diagnose(cut.save());
  CHECK(shorter.status.code() == Code::check_failed);
  CHECK(tells(shorter.one("checkpoint"), "found", bias));
  CHECK(tells(shorter.one("checkpoint"), "found", "12"));

  EditedModel greedy("bf16_single");
  greedy.config["num_experts_per_tok"] = 17;
  CHECK(tells(diagnose(greedy.save()).one("checkpoint"), "found", "num_experts_per_tok"));

  const auto nothing = run("doctor", {{"model", golden::kModels + "not_there"}});
  CHECK(nothing.status.code() == Code::not_found);
}

TEST_CASE("doctor: a quantized router is an error that names what engines do") {
  EditedModel model("fp8");
  const std::string gate = "model.layers.1.block_sparse_moe.gate";
  auto& weight = model.at(gate + ".weight");
  weight.dtype = Dtype::f8_e4m3;
  weight.bytes.assign(8 * 256, '\x38');
  std::string scale(8, '\0');
  const float one = 1;
  std::memcpy(scale.data(), &one, 4);
  std::memcpy(scale.data() + 4, &one, 4);
  model.add(gate + ".weight_scale_inv", Dtype::f32, {1, 2}, scale);
  model.quant()["modules_to_not_convert"] = {"lm_head"};
  const Diagnosis found = diagnose(model.save());
  CHECK(found.status.code() == Code::check_failed);
  const auto router = found.of("router");
  const auto unopened = found.of("checkpoint");
  REQUIRE(router.size() + unopened.size() == 1);
  CHECK(tells(router.empty() ? unopened[0] : router[0], router.empty() ? "found" : "where", gate));
}

TEST_CASE("doctor: w1 and w3 with global scales of their own") {
  EditedModel model("nvfp4_modelopt");
  *model.at(expert(1, 4, "w3.weight_scale_2")).as<float>() *= 1.25f;
  const Json finding = diagnose(model.save()).one("shared scales");
  CHECK(finding.at("severity") == "warning");
  CHECK(finding.at("where") == "layer 1, expert 4: w1 and w3");
  CHECK(tells(finding, "remedy", "mm2 quantize"));
}

TEST_CASE("doctor: cold experts are what breaks path names, and the repair needs no data") {
  EditedModel model("nvfp4_modelopt");
  for (const int id : {2, 5, 7}) *model.at(expert(0, id, "w1.input_scale")).as<float>() /= 64;
  const float cold = *model.at(expert(0, 2, "w2.input_scale")).as<float>() /= 64;
  const std::string& sick = model.save();
  const auto findings = diagnose(sick).of("cold experts");
  REQUIRE(findings.size() == 2);  // w1 and w2 of layer 0
  CHECK(findings[0].at("where") == "layer 0: w1");
  CHECK(tells(findings[0], "found", "3 of 8 experts"));
  CHECK(tells(findings[1], "found", "experts.2.w2"));
  for (const Json& finding : findings) {
    CHECK(finding.at("severity") == "warning");
    CHECK(tells(finding, "effect", "path names"));
    CHECK(tells(finding, "remedy", "doctor --fix"));
  }
  const TempFolder folder;
  const Diagnosis fixed = diagnose(sick, {{"fix", true}, {"out", folder / "well"}});
  CHECK(fixed.report.at("repaired").at("input_scales").get<int>() >= 4);
  CHECK(diagnose(folder / "well").of("cold experts").empty());
  // Raised, never lowered: nothing saturates that did not before. Weights stay as they are.
  const auto before = verbs::contents(sick), after = verbs::contents(folder / "well");
  REQUIRE(before.size() == after.size());
  for (const auto& [name, was] : before) {
    INFO(name);
    const std::string& is = after.at(name);
    if (!name.ends_with(".input_scale")) {
      CHECK(is == was);
      continue;
    }
    float old_scale, new_scale;
    std::memcpy(&old_scale, was.data() + was.size() - 4, 4);
    std::memcpy(&new_scale, is.data() + is.size() - 4, 4);
    CHECK(new_scale >= old_scale);
    if (name == expert(0, 2, "w2.input_scale")) CHECK(new_scale > 4 * cold);
  }
}

TEST_CASE("doctor: experts without a scale, and scales that nobody calibrated") {
  EditedModel lacking("nvfp4_modelopt");
  lacking.drop(expert(1, 3, "w1.input_scale"));
  const Diagnosis found = diagnose(lacking.save());
  CHECK(found.status.code() == Code::check_failed);
  CHECK(found.one("cold experts").at("severity") == "error");
  CHECK(tells(found.one("cold experts"), "found", "1 experts have no input_scale, 7 have one"));

  EditedModel plain("nvfp4_modelopt");
  for (auto& tensor : plain.tensors) {
    if (tensor.name.ends_with(".input_scale")) *tensor.as<float>() = 1;
  }
  const Diagnosis same = diagnose(plain.save());
  CHECK(same.status.ok());
  CHECK(same.of("cold experts").size() == 6);  // two layers of w1, w2, w3
  CHECK(same.of("cold experts")[0].at("severity") == "note");

  EditedModel broken("nvfp4_modelopt");
  *broken.at(expert(0, 0, "w3.input_scale")).as<float>() = NAN;
  CHECK(tells(diagnose(broken.save()).one("cold experts"), "where", "layer 0: w3"));
}

TEST_CASE("doctor: scales of the FP8 cache that are missing, 0, 1, too large or biased") {
  EditedModel lacking("nvfp4_modelopt");
  for (int layer = 0; layer < 2; ++layer) {
    lacking.drop(join("model.layers.", layer, ".self_attn.k_proj.k_scale"));
    lacking.drop(join("model.layers.", layer, ".self_attn.v_proj.v_scale"));
  }
  CHECK(tells(diagnose(lacking.save()).one("KV scales"), "found", "no scales are there"));

  EditedModel half("nvfp4_modelopt");
  half.drop("model.layers.1.self_attn.v_proj.v_scale");
  CHECK(diagnose(half.save()).one("KV scales").at("severity") == "error");

  EditedModel zero("nvfp4_modelopt");
  set_kv_scales(zero, 0, 0.01f);
  CHECK(diagnose(zero.save()).one("KV scales").at("severity") == "error");

  EditedModel ones("nvfp4_modelopt");
  set_kv_scales(ones, 1, 1);
  CHECK(diagnose(ones.save()).one("KV scales").at("severity") == "note");

  EditedModel large("nvfp4_modelopt");
  set_kv_scales(large, 0.01f, 0.75f);
  const Json implausible = diagnose(large.save()).one("KV scales");
  CHECK(implausible.at("severity") == "warning");
  CHECK(tells(implausible, "found", "scales above 0.5"));

  // No key of full-width k_norm is longer than the square root of the width times its largest weight.
  EditedModel foreign("nvfp4_modelopt");
  set_kv_scales(foreign, 0.4f, 0.01f);
  const Json impossible = diagnose(foreign.save()).one("KV scales");
  CHECK(tells(impossible, "found", "k_norm allows"));
  CHECK(impossible.at("where") == "layer 0");
  const auto listed = run("kv-scales", {{"model", golden::kModels + "nvfp4_modelopt"}});
  REQUIRE(listed.status.ok());
  for (size_t layer = 0; layer < 2; ++layer) {
    const float scale = listed.report.at("scales").at(layer).at("k_scale").get<float>();
    CHECK(scale <= listed.report.at("largest_k_scale").at(layer).get<float>() * 1.01f);
  }

  EditedModel affine("nvfp4_modelopt");
  affine.add("model.layers.0.self_attn.k_proj.k_bias", Dtype::f32, {64}, std::string(256, '\0'));
  const Json biased = diagnose(affine.save()).one("KV scales");
  CHECK(tells(biased, "found", "1 biases"));
  CHECK(tells(biased, "remedy", "--strip-bias"));
}

TEST_CASE("doctor: zeros of GPTQ v1 that engines read in two ways") {
  EditedModel model("gptq");
  const std::string zeros = expert(1, 2, "w1.qzeros");
  const auto asymmetric = [&](EditedModel& edited) {
    edited.quant()["sym"] = false;
    return edited.save();
  };
  CHECK(diagnose(asymmetric(model)).of("zeros").empty());
  EditedModel borrowed("gptq");
  borrowed.at(zeros).as<uint32_t>()[3] = 0x7777776f;  // 0 in the lowest field, by words
  const Json finding = diagnose(asymmetric(borrowed)).one("zeros");
  CHECK(finding.at("severity") == "warning");
  CHECK(finding.at("where") == expert(1, 2, "w1"));
  CHECK(tells(finding, "found", "1 words of 1 matrices"));
  CHECK(tells(finding, "remedy", "gptq_v2"));
}

TEST_CASE("doctor: ranks that cannot share a model, and those that can") {
  const std::string fp8 = golden::kModels + "fp8";
  const auto errors = [&](const Json& options) { return diagnose(fp8, options).of("serving"); };
  CHECK(errors({{"tp", 1}}).empty());
  // 128 rows share a scale, so that 64 of a rank cut it: the true model at tp 8, 1536 / 8 = 192.
  const auto cut = errors({{"tp", 2}});
  REQUIRE_FALSE(cut.empty());
  for (const Json& finding : cut) CHECK(finding.at("severity") == "error");
  CHECK(tells(cut[0], "found", "64 rows of a rank are no multiple of 128"));
  CHECK(tells(cut[0], "remedy", "ep 2"));
  CHECK(errors({{"tp", 2}, {"ep", 2}}).empty());  // whole experts on each rank
  CHECK(tells(errors({{"ep", 3}}).at(0), "found", "8 experts cannot be dealt to ep 3"));
  CHECK(tells(errors({{"tp", 5}, {"ep", 2}}).at(0), "found", "12 heads cannot be dealt to tp 5"));

  const std::string gptq = golden::kModels + "gptq";
  const Json marlin = {{"tp", 4}, {"engine", "vllm"}};
  CHECK_FALSE(diagnose(gptq, marlin).of("serving").empty());
}

TEST_CASE("doctor: NaN is found by a deep look, with tensor and place") {
  EditedModel model("bf16_single");
  model.at("model.layers.2.self_attn.o_proj.weight").as<uint16_t>()[7] = 0x7fc0;
  const std::string& path = model.save();
  CHECK(diagnose(path).of("values").empty());
  const Diagnosis deep = diagnose(path, {{"deep", true}});
  CHECK(deep.status.code() == Code::check_failed);
  CHECK(deep.one("values").at("where") == "model.layers.2.self_attn.o_proj.weight");
  CHECK(tells(deep.one("values"), "found", "1 NaN"));
}

TEST_CASE("doctor: an index that counts bytes wrongly, and warnings that fail when strict") {
  const TempFolder folder;
  std::filesystem::copy(golden::kModels + "fp8", folder / "copy",
                        std::filesystem::copy_options::recursive);
  const std::string index = folder / "copy/model.safetensors.index.json";
  std::filesystem::permissions(index, std::filesystem::perms::owner_all);
  Json json = golden::read_json(index);
  json["metadata"]["total_size"] = 0;
  REQUIRE(write_text_file(index, json.dump()).ok());
  const Diagnosis found = diagnose(folder / "copy");
  CHECK(found.status.ok());
  bool told = false;
  for (const Json& finding : found.of("configuration")) {
    told = told || tells(finding, "found", "total_size is 0");
  }
  CHECK(told);
  const auto strict = run("doctor", {{"model", folder / "copy"}, {"strict", true}});
  CHECK(strict.status.code() == Code::check_failed);  // no tokenizer
}

TEST_CASE("doctor: a repair wants a place, and a place a repair") {
  const std::string model = golden::kModels + "nvfp4_modelopt";
  for (const Json& options :
       {Json{{"model", model}, {"fix", true}}, Json{{"model", model}, {"out", "/nowhere/x"}}}) {
    const auto refused = run("doctor", options);
    CHECK(refused.status.code() == Code::invalid_argument);
    CHECK(says(refused.status, "must be given together"));
  }
}
