// to-megatron, from-megatron, roundtrip, shard-plan.
#include "support/edited.h"
#include "support/golden.h"
#include "tools/megatron/torch_file.h"
#include "tools/stream/hash.h"
#include "unit/tools/run_verb.h"

using namespace mm2;
using verbs::contents;
using verbs::run;
using verbs::says;

namespace {

Json with(Json a, const Json& b) {
  a.update(b);
  return a;
}

const std::string kBf16 = golden::kModels + "bf16";

// An FP8 checkpoint whose heads are blocks: bf16's shape with head_dim 128, every matrix made up.
std::string fp8_model(support::EditedModel& edited) {
  Json& config = edited.config;
  const auto at = [&](const char* name) { return config.at(name).get<int64_t>(); };
  config["head_dim"] = 128;
  config["num_attention_heads"] = 4;
  config["num_key_value_heads"] = 2;
  config["intermediate_size"] = 256;
  const int64_t h = at("hidden_size"), m = at("intermediate_size");
  config["quantization_config"] = {{"quant_method", "fp8"},
                                   {"fmt", "float8_e4m3fn"},
                                   {"weight_block_size", {128, 128}},
                                   {"activation_scheme", "dynamic"}};
  uint32_t state = 7;
  const auto matrix = [&](const std::string& name, int64_t n_rows, int64_t n_cols) {
    edited.drop(name);
    std::string codes, scales;
    for (int64_t i = 0; i < n_rows * n_cols; ++i) {
      state = state * 1664525u + 1013904223u;
      codes += static_cast<char>(state >> 24 & 0x77);
    }
    const int64_t n_scales = (n_rows + 127) / 128 * ((n_cols + 127) / 128);
    for (int64_t i = 0; i < n_scales; ++i) {
      const float scale = 0.001f * static_cast<float>(++state % 1000 + 1);
      scales.append(reinterpret_cast<const char*>(&scale), sizeof scale);
    }
    edited.add(name, Dtype::f8_e4m3, {n_rows, n_cols}, codes);
    edited.add(name + "_scale_inv", Dtype::f32, {(n_rows + 127) / 128, (n_cols + 127) / 128},
               scales);
  };
  for (int64_t layer = 0; layer < at("num_hidden_layers"); ++layer) {
    const std::string here = join("model.layers.", layer, ".");
    matrix(here + "self_attn.q_proj.weight", 512, h);
    matrix(here + "self_attn.k_proj.weight", 256, h);
    matrix(here + "self_attn.v_proj.weight", 256, h);
    matrix(here + "self_attn.o_proj.weight", h, 512);
    edited.reshape(here + "self_attn.q_norm.weight", {512});
    edited.reshape(here + "self_attn.k_norm.weight", {256});
    for (int64_t e = 0; e < at("num_local_experts"); ++e) {
      const std::string expert = join(here, "block_sparse_moe.experts.", e, ".");
      matrix(expert + "w1.weight", m, h);
      matrix(expert + "w2.weight", h, m);
      matrix(expert + "w3.weight", m, h);
    }
  }
  return edited.save();
}

// To the ranks and back, and what comes back.
void check_there_and_back(const std::string& model, const Json& layout, const std::string& format) {
  const TempFolder folder;
  Json options = with({{"model", model}, {"out", folder / "ranks"}, {"format", format}}, layout);
  const auto there = run("to-megatron", options);
  INFO(there.status.message());
  REQUIRE(there.status.ok());
  const auto back = run("from-megatron", {{"model", folder / "ranks"}, {"out", folder / "back"}});
  INFO(back.status.message());
  REQUIRE(back.status.ok());
  CHECK((contents(folder / "back") == contents(model)));
  CHECK(golden::read_json(folder / "back/config.json") ==
        golden::read_json(model + "/config.json"));
  CHECK(run("verify", {{"model", folder / "back"}, {"hash", true}}).status.ok());
  options.erase("out");
  const auto proof = run("roundtrip", options);
  INFO(proof.status.message());
  CHECK(proof.status.ok());
  CHECK(proof.report.at("lossless") == true);
  CHECK(proof.report.at("tensors") == contents(model).size());
}

}  // namespace

TEST_CASE("to-megatron: BF16 comes back bit by bit from every layout, format and spelling") {
  check_there_and_back(kBf16, {{"tp", 1}}, "torch");
  check_there_and_back(kBf16, {{"tp", 2}, {"ep", 2}, {"names", "bridge"}}, "torch");
  check_there_and_back(kBf16, {{"tp", 2}, {"pp", 2}, {"ep", 4}, {"etp", 2}}, "safetensors");
  check_there_and_back(kBf16, {{"tp", 4}, {"pad_vocab", 64}, {"names", "bridge"}}, "safetensors");
  check_there_and_back(kBf16, {{"pp", 1}, {"vpp", 2}, {"etp", 4}}, "torch");
  check_there_and_back(kBf16, {{"vpp", 2}}, "safetensors");
  // Fused tensors come back one by one, under the official names.
  const auto fused = run("roundtrip", {{"model", golden::kModels + "alias_fused"}, {"ep", 4}});
  INFO(fused.status.message());
  CHECK(fused.status.ok());
  CHECK(fused.report.at("lossless") == true);
}

TEST_CASE("to-megatron: FP8 codes and scales come back bit by bit") {
  support::EditedModel edited("bf16");
  const std::string model = fp8_model(edited);
  check_there_and_back(model, {{"tp", 2}, {"ep", 2}, {"etp", 2}}, "torch");
  check_there_and_back(model, {{"tp", 4}, {"pp", 2}}, "safetensors");
}

TEST_CASE("to-megatron: files of torch hold what the golden layouts say") {
  const TempFolder folder;
  REQUIRE(run("to-megatron",
              {{"model", kBf16}, {"out", folder / "out"}, {"tp", 2}, {"pp", 2}, {"ep", 2}})
              .status.ok());
  CHECK(read_file(folder / "out/latest_checkpointed_iteration.txt") == "release\n");
  const Json layouts =
      golden::read_json(std::string(MM2_TEST_DATA) + "/tools/megatron/layouts.json");
  int n = 0;
  for (const Json& rank : layouts.back().at("ranks")) {
    const std::string path = folder / join("out/release/mp_rank_0", rank.at("tp_rank").get<int>(),
                                           "_00", rank.at("pp_rank").get<int>(), "_00",
                                           rank.at("ep_rank").get<int>(), "/model_optim_rng.pt");
    INFO(path);
    const auto source = file_system_source()->open(path);
    REQUIRE(source.ok());
    const auto file = TorchFile::open(*source, path);
    INFO(file.status().message());
    REQUIRE(file.ok());
    CHECK((*file)->tensors().size() == rank.at("tensors").size());
    for (const auto& [name, expected] : rank.at("tensors").items()) {
      const TensorInfo* tensor = (*file)->find("model." + name);
      INFO(name);
      REQUIRE(tensor != nullptr);
      std::string bytes(tensor->bytes, '\0');
      REQUIRE((*file)->read(*tensor, 0, bytes.size(), bytes.data()).ok());
      Sha256 hash;
      hash.update(bytes.data(), bytes.size());
      CHECK(hash.finish().substr(0, 32) == expected.at("sha256").get<std::string>());
      ++n;
    }
  }
  CHECK(n == 140);
}

TEST_CASE("to-megatron: what cannot be split or moved is refused, and nothing is written") {
  const TempFolder folder;
  const auto refused = [&](Json options, const std::string& word) {
    if (!options.contains("model")) options["model"] = kBf16;
    options["out"] = folder / "out";
    const auto ran = run("to-megatron", options);
    INFO(ran.status.message());
    CHECK_FALSE(ran.status.ok());
    CHECK(says(ran.status, word));
  };
  refused({{"tp", 3}}, "n_kv_heads");
  refused({{"ep", 3}}, "n_experts");
  refused({{"etp", 5}}, "etp");
  refused({{"pp", 3}}, "n_layers");
  refused({{"tp", 0}}, "tp");
  refused({{"format", "dist"}}, "several ranks wrote together");
  refused({{"format", "nemo"}}, "must be one of torch, safetensors");
  refused({{"names", "nemo"}}, "names");
  refused({{"model", golden::kModels + "fp8"}}, "head_dim");
  refused({{"model", golden::kModels + "awq"}}, "others of its kind");
  refused({{"model", golden::kModels + "nvfp4_modelopt"}}, "FP8 in blocks");
  CHECK(folder.n_files() == 0);
}

TEST_CASE("from-megatron: missing ranks, wrong shapes and foreign layouts are refused by name") {
  const TempFolder folder;
  REQUIRE(run("to-megatron", {{"model", kBf16}, {"out", folder / "ranks"}, {"tp", 2}}).status.ok());
  const auto refused = [&](Json options, const std::string& word) {
    options["model"] = folder / "ranks";
    options["out"] = folder / "out";
    const auto ran = run("from-megatron", options);
    INFO(ran.status.message());
    CHECK_FALSE(ran.status.ok());
    CHECK(says(ran.status, word));
  };
  refused({{"tp", 1}}, "has shape");
  refused({{"tp", 4}}, "mp_rank_02");
  refused({{"etp", 2}}, "has shape");
  refused({{"ep", 2}}, "mp_rank_00_000");
  refused({{"pp", 2}}, "mp_rank_00_000");
  refused({{"format", "safetensors"}}, "model.safetensors");
  refused({{"config", folder / "nowhere"}}, "config");
  folder.write("ranks/latest_checkpointed_iteration.txt", "../../etc");
  refused({}, "wanted is release or a number");
  folder.write("ranks/latest_checkpointed_iteration.txt", "12");
  refused({}, "iter_0000012");
  // Either spelling of the norms is taken.
  folder.write("ranks/latest_checkpointed_iteration.txt", "release");
  const auto other = run(
      "from-megatron",
      {{"model", folder / "ranks"}, {"config", kBf16}, {"out", folder / "again"}, {"threads", 1}});
  INFO(other.status.message());
  REQUIRE(other.status.ok());
  CHECK((contents(folder / "again") == contents(kBf16)));
}

TEST_CASE("to-megatron: stopped after any file and resumed, the ranks are the same to the byte") {
  const TempFolder folder;
  const auto options = [&](const std::string& out) {
    return Json{{"model", kBf16}, {"out", folder / out}, {"tp", 2}, {"ep", 2}, {"threads", 1}};
  };
  REQUIRE(run("to-megatron", options("whole")).status.ok());
  for (const int n : {0, 20, 50, 100}) {
    const std::string out = join("stopped", n);
    INFO(out);
    CHECK(run("to-megatron", options(out), verbs::stopping_after(n)).status.code() ==
          Code::cancelled);
    CHECK_FALSE(std::filesystem::exists(folder / out));
    const auto resumed = run("resume", {{"out", folder / out}});
    INFO(resumed.status.message());
    REQUIRE(resumed.status.ok());
    int n_files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "whole")) {
      if (!entry.is_regular_file()) continue;
      const std::string file = std::filesystem::relative(entry.path(), folder / "whole").string();
      INFO(file);
      CHECK(read_file(folder / out + "/" + file) == read_file(entry.path().string()));
      ++n_files;
    }
    CHECK(n_files > 4);
    CHECK_FALSE(std::filesystem::exists(folder / (out + ".journal")));
  }
}

TEST_CASE("roundtrip: a layout that does not fit and a chain that is none are refused") {
  CHECK(says(run("roundtrip", {{"model", kBf16}, {"tp", 3}}).status, "n_kv_heads"));
  CHECK(says(run("roundtrip", {{"model", kBf16}, {"chain", {"repack"}}}).status, "chain"));
}

TEST_CASE("shard-plan: bytes of a device add up, and illegal splits are told") {
  const auto plan = [](Json options) {
    if (!options.contains("model")) options["model"] = kBf16;
    const auto ran = run("shard-plan", options);
    INFO(ran.status.message());
    REQUIRE(ran.status.ok());
    return ran.report;
  };
  const Json one = plan(Json::object());
  CHECK(one.at("device").at("total_bytes") == one.at("checkpoint_bytes"));
  CHECK(one.at("legal") == true);
  const Json two = plan({{"tp", 2}, {"ep", 2}});
  const auto bytes = [](const Json& report, const char* part) {
    return report.at("device").at(part).get<uint64_t>();
  };
  CHECK(bytes(two, "experts_bytes") * 2 == bytes(one, "experts_bytes"));
  CHECK(bytes(two, "replicated_bytes") == bytes(one, "replicated_bytes"));
  CHECK(plan({{"tp", 3}}).at("legal") == false);
  CHECK(run("shard-plan", {{"model", kBf16}, {"tp", 3}, {"strict", true}}).status.code() ==
        Code::check_failed);
  CHECK(says(run("shard-plan", {{"model", kBf16}, {"tp", 4}, {"ep", 2}}).status, "ep"));
  // Blocks of 128 rows of an expert of 128 do not go over two devices; whole experts do.
  const std::string fp8 = golden::kModels + "fp8";
  const auto check_of = [](const Json& report, const std::string& name) {
    for (const Json& row : report.at("checks")) {
      if (row.at("check") == name) return row.at("ok").get<bool>();
    }
    FAIL("no check " << name);
    return false;
  };
  CHECK_FALSE(check_of(plan({{"model", fp8}, {"tp", 2}}), "w1"));
  CHECK(check_of(plan({{"model", fp8}, {"tp", 2}, {"ep", 2}}), "w1"));
  CHECK(check_of(plan({{"model", fp8}}), "w1"));
  CHECK(plan({{"model", fp8}, {"tp", 2}}).at("legal") == false);
}

TEST_CASE("shard-plan: experts are placed by their loads, with copies where asked for") {
  const TempFolder folder;
  const Json config = golden::read_json(kBf16 + "/config.json");
  const auto n = config.at("num_local_experts").get<size_t>();
  Json layers = Json::array();
  for (int64_t layer = 0; layer < config.at("num_hidden_layers").get<int64_t>(); ++layer) {
    Json loads = Json::array();
    for (size_t e = 0; e < n; ++e) loads.push_back(e == 0 ? 100 : 1);
    layers.push_back({{"frequency", loads}});
  }
  folder.write("loads.json", Json{{"layers", layers}}.dump());
  const Json options = {
      {"model", kBf16}, {"tp", 2}, {"ep", 2}, {"redundant", 2}, {"eplb", folder / "loads.json"}};
  const auto ran = run("shard-plan", options);
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  const Json& row = ran.report.at("placement")[0];
  CHECK(row.at("experts").size() == 2);
  CHECK(row.at("experts")[0].size() == (n + 2) / 2);
  CHECK(row.at("max_over_mean").get<double>() < 1.5);
  folder.write("loads.json", "[[1, 2]]");
  CHECK(says(run("shard-plan", options).status, "loads of 1 layers"));
}
