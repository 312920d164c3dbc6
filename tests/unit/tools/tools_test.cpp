#include "tools/tools.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <limits>

#include "format/atomic_writer.h"
#include "unit/format/temp_folder.h"

using namespace mm2;

namespace {

const std::string kModels = std::string(MM2_TEST_DATA) + "/models/";
const std::string kBroken = std::string(MM2_TEST_DATA) + "/broken/";

struct Ran {
  Status status;
  Json report;
};

Ran run(std::string_view verb, Json options, const Host& host = {}) {
  Ran ran;
  options["threads"] = 2;
  ran.status = run_tool(verb, options, host, &ran.report);
  INFO(ran.status.message());
  return ran;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A copy of a model whose file `from` has one byte changed at `at` from its end.
std::string damaged_copy(const TempFolder& folder, const std::string& model, size_t from_end,
                         char with) {
  std::filesystem::copy(kModels + model, folder / model);
  std::string bytes = read_file(folder / (model + "/model.safetensors"));
  bytes[bytes.size() - from_end] = with;
  folder.write(model + "/model.safetensors", bytes);
  return folder / model;
}

}  // namespace

TEST_CASE("inspect: every plain checkpoint is counted to the last parameter") {
  for (const char* name :
       {"bf16", "bf16_single", "f16", "f32", "pruned", "alias_fused", "alias_gate_up"}) {
    INFO(name);
    const Ran ran = run("inspect", {{"model", kModels + name}});
    REQUIRE(ran.status.ok());
    const Json& c = ran.report.at("config");
    const auto at = [&](const char* field) { return c.at(field).get<uint64_t>(); };
    const uint64_t q = at("n_heads") * at("head_dim"), kv = at("n_kv_heads") * at("head_dim"),
                   h = at("hidden");
    const uint64_t layer = 2 * h + q + kv + 2 * q * h + 2 * kv * h +
                           at("n_experts") * (h + 1 + 3 * h * at("intermediate"));
    const uint64_t total = 2 * at("n_vocab") * h + h + at("n_layers") * layer;
    CHECK(ran.report.at("n_parameters") == total);
    CHECK(ran.report.at("n_weight_tensors") == ran.report.at("n_tensors"));
    CHECK(ran.report.at("executable") == true);
    uint64_t bytes = 0;
    for (const Json& one : ran.report.at("classes")) bytes += one.at("bytes").get<uint64_t>();
    CHECK(bytes == ran.report.at("tensor_bytes").get<uint64_t>());
    CHECK_FALSE(ran.report.contains("unexpected"));
    CHECK_FALSE(ran.report.contains("problems"));
  }
}

TEST_CASE("inspect: every quantised checkpoint is told class by class, and can be run") {
  struct Known {
    const char* folder;
    const char* experts;
    const char* attention;
    const char* method;
  };
  const Known all[] = {{"autoround", "gptq 4 bit group 128", "gptq 4 bit group 128", "auto-round"},
                       {"awq", "awq 4 bit group 128", "awq 4 bit group 128", "awq"},
                       {"awq_tool_names", "awq 4 bit group 32", "awq 4 bit group 32", "awq"},
                       {"ct_mixed", "compressed-tensors packed integers 4 bit group 32",
                        "fp8 block 128x128", "compressed-tensors"},
                       {"ct_mxfp4", "mxfp4 group 32", "mxfp4 group 32", "compressed-tensors"},
                       {"ct_nvfp4", "nvfp4 (compressed-tensors) group 16",
                        "nvfp4 (compressed-tensors) group 16", "compressed-tensors"},
                       {"ct_w4a16", "compressed-tensors packed integers 4 bit group 128",
                        "compressed-tensors packed integers 4 bit group 128", "compressed-tensors"},
                       {"ct_w4a16_asym", "compressed-tensors packed integers 4 bit group 32",
                        "compressed-tensors packed integers 4 bit group 32", "compressed-tensors"},
                       {"fp8", "fp8 block 128x128", "fp8 block 128x128", "fp8"},
                       {"gptq", "gptq 4 bit group 128", "gptq 4 bit group 128", "gptq"},
                       {"gptq_desc_act", "gptq 4 bit group 32", "gptq 4 bit group 32", "gptq"},
                       {"gptq_v2", "gptq v2 4 bit group 128", "gptq v2 4 bit group 128", "gptq"},
                       {"nvfp4_modelopt", "nvfp4 (ModelOpt) group 16", "bf16", "modelopt"}};
  for (const Known& known : all) {
    const Ran ran = run("inspect", {{"model", kModels + known.folder}, {"strict", true}});
    INFO(known.folder << ": " << ran.status.message() << " " << ran.report.dump());
    REQUIRE(ran.status.ok());
    CHECK(ran.report.at("executable") == true);
    CHECK(ran.report.at("quantization").at("quant_method") == known.method);
    CHECK(ran.report.at("n_companion_tensors").get<int>() > 0);
    size_t n_experts = 0, n_attention = 0;
    for (const Json& one : ran.report.at("classes")) {
      n_experts += one.at("class") == "w2" && one.at("scheme") == known.experts;
      n_attention += one.at("class") == "q_proj" && one.at("scheme") == known.attention;
    }
    CHECK((n_experts == 1 && n_attention == 1));
    const std::string name = known.folder;
    CHECK(ran.report.contains("kv_scales") == (name == "ct_mixed" || name == "nvfp4_modelopt"));
  }
}

TEST_CASE("inspect: single files, configurations, layers and globs") {
  const Ran file =
      run("inspect", {{"model", kBroken + "23_valid_unsorted_and_padded.safetensors"}});
  REQUIRE(file.status.ok());
  CHECK(file.report.at("kind") == "safetensors");
  CHECK(file.report.at("tensors").size() == file.report.at("n_tensors").get<size_t>());
  const Ran config = run("inspect", {{"model", kModels + "f32/config.json"}});
  REQUIRE(config.status.ok());
  CHECK(config.report.at("config").at("n_experts") == 16);
  CHECK_FALSE(config.report.contains("n_tensors"));
  const Ran layer =
      run("inspect", {{"model", kModels + "f32"}, {"layer", 1}, {"tensor", "*norm.weight"}});
  REQUIRE(layer.status.ok());
  CHECK(layer.report.at("tensors").size() == 4);
}

TEST_CASE("inspect: what is missing or strange is listed, and fails only when strict") {
  const Ran ran = run("inspect", {{"model", kBroken + "38_missing_tensor"}});
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("n_missing") == 1);
  CHECK(contains(ran.report.at("problems").dump(), "experts.1.w2.weight"));
  CHECK(
      run("inspect", {{"model", kBroken + "38_missing_tensor"}, {"strict", true}}).status.code() ==
      Code::check_failed);
}

TEST_CASE("verify: sound checkpoints pass, deep and hashed, whatever their layout") {
  for (const char* name :
       {"bf16",        "bf16_single",   "f16",           "f32",      "pruned",
        "alias_fused", "alias_gate_up", "autoround",     "awq",      "awq_tool_names",
        "ct_mixed",    "ct_mxfp4",      "ct_nvfp4",      "ct_w4a16", "ct_w4a16_asym",
        "fp8",         "gptq",          "gptq_desc_act", "gptq_v2",  "nvfp4_modelopt"}) {
    INFO(name);
    const Ran ran = run(
        "verify", {{"model", kModels + name}, {"deep", true}, {"hash", true}, {"strict", true}});
    INFO(ran.report.dump());
    REQUIRE(ran.status.ok());
    CHECK(ran.report.at("ok") == true);
    CHECK(ran.report.at("executable") == true);
    CHECK(ran.report.at("hashes").at("algorithm") == "xxh3-128");
  }
}

TEST_CASE("verify: every damaged file of the test data fails with a report that says so") {
  const Result<Json> cases = parse_json(read_file(kBroken + "cases.json"), "cases.json");
  REQUIRE(cases.ok());
  for (const Json& one : cases->at("cases")) {
    const std::string path = one.at("path").get<std::string>();
    std::string model = kBroken + path;
    if (one.at("kind") == "index") model += "/model.safetensors.index.json";
    // A configuration may have any name; the tool takes it for one when it ends in .json.
    const Ran ran = run("verify", {{"model", model}, {"deep", true}});
    INFO(path << ": " << ran.status.message() << " " << ran.report.dump());
    REQUIRE(ran.report.is_object());
    CHECK(ran.report.at("ok") == (one.at("expect") == "ok"));
    CHECK(ran.status.ok() == (one.at("expect") == "ok"));
    if (ran.status.ok()) continue;
    CHECK(ran.report.at("n_problems").get<int>() >= 1);
    CHECK(ran.status.code() != Code::internal);
  }
}

TEST_CASE("verify: a NaN in a weight is found by a deep pass only, with tensor and place") {
  const TempFolder folder;
  // The last tensor is BF16, so the last byte is the high half of an element: 0x7F and whatever
  // mantissa.
  const std::string model = damaged_copy(folder, "bf16_single", 1, '\x7f');
  std::string bytes = read_file(model + "/model.safetensors");
  bytes[bytes.size() - 2] = '\xc1';
  folder.write("bf16_single/model.safetensors", bytes);
  CHECK(run("verify", {{"model", model}}).status.ok());
  const Ran ran = run("verify", {{"model", model}, {"deep", true}});
  CHECK(ran.status.code() == Code::check_failed);
  CHECK(contains(ran.status.message(), "1 NaN and 0 infinite"));
  CHECK(ran.report.at("ok") == false);
}

TEST_CASE("verify: one flipped bit in any weight is found against a manifest") {
  const TempFolder folder;
  for (const char* kind : {"xxh3", "sha256"}) {
    const Ran sound = run("verify", {{"model", kModels + "f16"}, {"hash", kind}});
    REQUIRE(sound.status.ok());
    const std::string manifest = folder.write("m.json", sound.report.dump());
    CHECK(run("verify", {{"model", kModels + "f16"}, {"hash", kind}, {"manifest", manifest}})
              .status.ok());
    const TempFolder other;
    const std::string model = damaged_copy(other, "f16", 1000, '\x11');
    const Ran ran = run("verify", {{"model", model}, {"hash", kind}, {"manifest", manifest}});
    CHECK(ran.status.code() == Code::check_failed);
    CHECK(contains(ran.status.message(), "the digest is"));
    // The same manifest beside the checkpoint is found by itself; a file of that name with other
    // content is a remark.
    std::filesystem::copy_file(manifest, model + "/manifest.json");
    CHECK(run("verify", {{"model", model}, {"hash", kind}}).status.code() == Code::check_failed);
    other.write("f16/manifest.json", "{}");
    const Ran unrelated = run("verify", {{"model", model}, {"hash", kind}});
    CHECK(unrelated.status.ok());
    CHECK(unrelated.report.at("n_remarks") == 1);
  }
}

TEST_CASE("verify: tensors of no weight are remarks, and fail when strict") {
  const TempFolder folder;
  std::filesystem::copy(kModels + "f32", folder / "m");
  auto writer = SafetensorsWriter::create(
      folder / "m/extra.safetensors",
      {{"stray.tensor", Dtype::f32, Shape{1}}, {"mtp.0.x", Dtype::f32, Shape{1}}});
  REQUIRE(writer.ok());
  const float two[2] = {1, 2};
  REQUIRE((*writer)->append(two, sizeof two).ok());
  REQUIRE((*writer)->publish().ok());
  folder.write(
      "m/model.safetensors.index.json",
      R"({"weight_map":{"stray.tensor":"extra.safetensors","mtp.0.x":"extra.safetensors","lm_head.weight":"model.safetensors"}})");
  const Ran ran = run("verify", {{"model", folder / "m"}});
  REQUIRE(ran.status.ok());
  CHECK(contains(ran.report.at("remarks").dump(), "stray.tensor"));
  CHECK_FALSE(contains(ran.report.at("remarks").dump(), "mtp.0.x"));
  CHECK(run("verify", {{"model", folder / "m"}, {"strict", true}}).status.code() ==
        Code::check_failed);
}

TEST_CASE("verify: progress reaches the total, and the host can cancel") {
  Host host;
  uint64_t last = 0, total = 0;
  host.progress = [&](const Progress& progress) {
    CHECK(progress.done > last);
    last = progress.done;
    total = progress.total;
    return true;
  };
  REQUIRE(run("verify", {{"model", kModels + "bf16"}, {"deep", true}}, host).status.ok());
  CHECK(last == total);
  CHECK(total > 4000000);
  host.progress = [](const Progress&) { return false; };
  const Ran ran = run("verify", {{"model", kModels + "bf16"}, {"deep", true}}, host);
  CHECK(ran.status.code() == Code::cancelled);
  CHECK(ran.report.is_null());
}

TEST_CASE("tools: verbs and options that are not there are refused by name") {
  CHECK(run("frobnicate", {{"model", "x"}}).status.code() == Code::not_found);
  CHECK(contains(run("quantize", {{"model", "x"}}).status.message(), "out"));
  CHECK(contains(run("verify", {{"model", "x"}, {"depe", true}}).status.message(), "depe"));
  CHECK(run("verify", {{"model", "x"}, {"deep", 1}}).status.code() == Code::invalid_argument);
  CHECK(run("verify", {{"model", "x"}, {"hash", "md5"}}).status.code() == Code::invalid_argument);
  CHECK(run("inspect", {{"model", 3}}).status.code() == Code::invalid_argument);
  CHECK(run("inspect", Json::object()).status.code() == Code::invalid_argument);
  Json report;
  CHECK(run_tool("inspect", Json::array(), Host{}, &report).code() == Code::invalid_argument);
  CHECK(run_tool("inspect", nullptr, Host{}, &report).code() == Code::invalid_argument);
  CHECK(run("inspect", {{"model", kModels + "absent"}}).status.code() == Code::not_found);
}
