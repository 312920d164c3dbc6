// match-experts, delete-experts, and the operations match and reap of tensor.
#include <set>

#include "support/edited.h"
#include "support/golden.h"
#include "tools/expert_deletion.h"
#include "unit/tools/run_verb.h"

using namespace mm2;
using verbs::contents;
using verbs::run;
using verbs::says;

namespace {

const std::string kTools = std::string(MM2_TEST_DATA) + "/tools/";
const std::string kSingle = golden::kModels + "bf16_single";
const std::string kPruned = golden::kModels + "pruned";
const std::vector<int32_t> kGone = {1, 3, 5, 15};  // of bf16_single in pruned, in every layer

// The model that `pruned` was made of: bf16_single with routers in F32.
std::string base_of_pruned(support::EditedModel& edited) {
  support::EditedModel wide("f32");
  for (int layer = 0; layer < 3; ++layer) {
    for (const char* name : {"gate.weight", "e_score_correction_bias"}) {
      const std::string full = join("model.layers.", layer, ".block_sparse_moe.", name);
      edited.at(full) = wide.at(full);
    }
  }
  return edited.save();
}

std::string mask_of(const std::vector<std::vector<int32_t>>& deleted) {
  ExpertMask mask;
  mask.deleted = deleted;
  return mask_text(mask);
}

}  // namespace

TEST_CASE("match-experts: the experts of the pruned model are found, and the mask is written") {
  const TempFolder folder;
  support::EditedModel edited("bf16_single");
  const auto ran = run("match-experts", {{"model", base_of_pruned(edited)},
                                         {"reference", kPruned},
                                         {"save_deleted_experts", folder / "mask.json"},
                                         {"details", folder / "details.json"}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("certain") == true);
  CHECK(ran.report.at("ascending") == true);
  CHECK(ran.report.at("deleted_per_layer") == 4);
  CHECK(ran.report.at("equal_bias") == 1.0);
  for (const Json& layer : ran.report.at("by_layer")) CHECK(layer.at("exact") == 12);
  CHECK(read_file(folder / "mask.json") == mask_of({kGone, kGone, kGone}) + "\n");
  const Json details = golden::read_json(folder / "details.json");
  CHECK(details.at("layers").size() == 3);
  CHECK(details.at("layers")[2].at("retained")[1].at("original") == 2);
}

TEST_CASE("match-experts: a router in another precision is matched by its margins") {
  const auto ran = run("match-experts", {{"model", kSingle}, {"reference", kPruned}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("by_layer")[0].at("exact") == 0);
  CHECK(ran.report.at("smallest_margin").get<double>() > 0.1);
}

TEST_CASE("match-experts: unrelated routers fail with a report and write no mask") {
  const TempFolder folder;
  support::EditedModel edited("pruned");
  auto& gate = edited.at("model.layers.1.block_sparse_moe.gate.weight");
  // The experts of layer 1 in another order, one of them turned around.
  for (size_t i = 0; i < gate.bytes.size(); i += 2) gate.bytes[i + 1] ^= i % 3 == 0 ? '\x80' : '\0';
  const auto ran = run("match-experts", {{"model", kSingle},
                                         {"reference", edited.save()},
                                         {"save_deleted_experts", folder / "mask.json"}});
  CHECK(ran.status.code() == Code::check_failed);
  CHECK(says(ran.status, "layer 1"));
  CHECK(ran.report.at("certain") == false);
  CHECK(ran.report.at("by_layer")[0].at("doubtful") == 0);
  CHECK(ran.report.at("by_layer")[1].at("doubtful") != 0);
  CHECK(folder.n_files() == 0);
}

TEST_CASE("match-experts: models that cannot belong together are refused") {
  const auto turned = run("match-experts", {{"model", kPruned}, {"reference", kSingle}});
  CHECK(says(turned.status, "the reference has 16 experts"));
  CHECK(turned.report.is_object());
  CHECK(run("match-experts", {{"model", kSingle}, {"reference", golden::kModels + "bf16"}})
            .status.code() == Code::check_failed);
  CHECK(run("match-experts", {{"model", kSingle}}).status.code() == Code::invalid_argument);
}

TEST_CASE("match-experts: another order is a remark, and fails when strict") {
  support::EditedModel edited("pruned");
  for (int layer = 0; layer < 3; ++layer) {
    auto& gate = edited.at(join("model.layers.", layer, ".block_sparse_moe.gate.weight"));
    const size_t row = gate.bytes.size() / 12;
    std::swap_ranges(gate.bytes.begin(), gate.bytes.begin() + static_cast<ptrdiff_t>(row),
                     gate.bytes.begin() + static_cast<ptrdiff_t>(row));
  }
  const std::string path = edited.save();
  const auto ran = run("match-experts", {{"model", kSingle}, {"reference", path}});
  CHECK(ran.status.ok());
  CHECK(ran.report.at("ascending") == false);
  CHECK(ran.report.contains("remarks"));
  CHECK(run("match-experts", {{"model", kSingle}, {"reference", path}, {"strict", true}})
            .status.code() == Code::check_failed);
}

TEST_CASE("delete-experts: both modes give the pruned model bit by bit") {
  const TempFolder folder;
  support::EditedModel edited("bf16_single");
  const std::string base = base_of_pruned(edited);
  const auto compared = run("delete-experts", {{"model", base},
                                               {"out", folder / "a"},
                                               {"num_original_experts", 16},
                                               {"num_retained_experts", 12},
                                               {"compare_with", kPruned},
                                               {"save_deleted_experts", folder / "mask.json"}});
  INFO(compared.status.message());
  REQUIRE(compared.status.ok());
  CHECK((contents(folder / "a") == contents(kPruned)));
  CHECK(golden::read_json(folder / "a/config.json") == golden::read_json(kPruned + "/config.json"));
  const Json& counts = compared.report.at("what_happened_to_tensors");
  CHECK(counts.at("dropped") == 3 * 4 * 3);
  CHECK(counts.at("sliced") == 3 * 2);
  CHECK(counts.at("renamed") == 3 * 11 * 3);  // expert 0 keeps its number

  const auto masked = run("delete-experts", {{"model", base},
                                             {"out", folder / "b"},
                                             {"num_original_experts", 16},
                                             {"num_retained_experts", 12},
                                             {"deleted_experts_file", folder / "mask.json"},
                                             {"threads", 1},
                                             {"mem", "64M"}});
  INFO(masked.status.message());
  REQUIRE(masked.status.ok());
  for (const char* file : {"model.safetensors", "config.json", "manifest.json"}) {
    INFO(file);
    CHECK(read_file(folder / "a/" + file) == read_file(folder / "b/" + file));
  }
  CHECK(run("verify", {{"model", folder / "b"}, {"deep", true}, {"hash", true}}).status.ok());
}

TEST_CASE("delete-experts: every format keeps the bytes of the experts that stay") {
  std::vector<std::string> models = golden::kQuantised;
  models.insert(models.end(), {"bf16", "f16", "f32", "alias_fused", "alias_gate_up"});
  for (const std::string& name : models) {
    INFO(name);
    const std::string model = golden::kModels + name;
    const Json config = golden::read_json(model + "/config.json");
    const auto n = config.at("num_local_experts").get<int32_t>();
    const auto n_layers = config.at("num_hidden_layers").get<int32_t>();
    std::vector<std::vector<int32_t>> gone;
    for (int32_t layer = 0; layer < n_layers; ++layer) gone.push_back({layer, n - 1 - layer});
    const TempFolder folder;
    folder.write("mask.json", mask_of(gone));
    const auto ran = run("delete-experts", {{"model", model},
                                            {"out", folder / "out"},
                                            {"num_original_experts", n},
                                            {"num_retained_experts", n - 2},
                                            {"deleted_experts_file", folder / "mask.json"}});
    INFO(ran.status.message());
    REQUIRE(ran.status.ok());
    auto before = contents(model);
    const auto after = contents(folder / "out");
    size_t n_expected = 0;
    for (const auto& [tensor, bytes] : before) {
      const auto parsed = parse_expert_name(tensor);
      if (!parsed) {
        ++n_expected;
        if (tensor.find("block_sparse_moe.") == std::string::npos &&
            tensor.find(".mlp.") == std::string::npos) {
          CHECK(after.at(tensor) == bytes);
        }
        continue;
      }
      const auto& deleted = gone[static_cast<size_t>(parsed->layer)];
      int32_t id = parsed->expert;
      if (id == deleted[0] || id == deleted[1]) continue;
      id -= (parsed->expert > deleted[0]) + (parsed->expert > deleted[1]);
      ++n_expected;
      CHECK(after.at(join(parsed->before, id, parsed->behind)) == bytes);
    }
    CHECK(after.size() == n_expected);
    // The configuration, the quantization's lists included, fits what is there.
    const auto inspected = run("inspect", {{"model", folder / "out"}, {"strict", true}});
    INFO(inspected.status.message());
    const auto was = run("inspect", {{"model", model}, {"strict", true}});
    CHECK(inspected.status.code() == was.status.code());
    CHECK(inspected.report.at("config").at("n_experts") == n - 2);
  }
}

TEST_CASE("delete-experts: router bias lives on the block and is sliced with the router") {
  const TempFolder folder;
  folder.write("mask.json", mask_of({kGone, kGone, kGone}));
  REQUIRE(run("delete-experts", {{"model", kSingle},
                                 {"out", folder / "out"},
                                 {"num_retained_experts", 12},
                                 {"deleted_experts_file", folder / "mask.json"}})
              .status.ok());
  const golden::Tensors before(kSingle), after(folder / "out");
  const std::string name = "model.layers.2.block_sparse_moe.e_score_correction_bias";
  const std::vector<char> whole = before.read<char>(name), left = after.read<char>(name);
  const size_t width = whole.size() / 16;
  REQUIRE(left.size() == 12 * width);
  size_t at = 0;
  for (int32_t id = 0; id < 16; ++id) {
    if (std::find(kGone.begin(), kGone.end(), id) != kGone.end()) continue;
    const auto from = whole.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(id) * width);
    CHECK(std::equal(from, from + static_cast<ptrdiff_t>(width),
                     left.begin() + static_cast<ptrdiff_t>(at)));
    at += width;
  }
}

TEST_CASE("delete-experts: zero points of the KV cache go, its scales stay") {
  support::EditedModel edited("bf16_single");
  const std::string scale(4, '\1');
  for (int layer = 0; layer < 3; ++layer) {
    const std::string attention = join("model.layers.", layer, ".self_attn.");
    edited.add(attention + "k_proj.k_scale", Dtype::f32, {}, scale);
    edited.add(attention + "v_proj.v_scale", Dtype::f32, {}, scale);
    edited.add(attention + "k_proj.k_bias", Dtype::f32, {}, scale);
    edited.add(attention + "v_proj.v_bias", Dtype::f32, {}, scale);
  }
  const TempFolder folder;
  folder.write("mask.json", mask_of({kGone, kGone, kGone}));
  Json options = {{"model", edited.save()},
                  {"out", folder / "out"},
                  {"num_retained_experts", 12},
                  {"deleted_experts_file", folder / "mask.json"}};
  const auto ran = run("delete-experts", options);
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("what_happened_to_tensors").at("stripped") == 6);
  const auto after = contents(folder / "out");
  CHECK(after.count("model.layers.1.self_attn.k_proj.k_scale") == 1);
  CHECK(after.count("model.layers.1.self_attn.k_proj.k_bias") == 0);
  options["out"] = folder / "kept";
  options["strip_kv_bias"] = false;
  REQUIRE(run("delete-experts", options).status.ok());
  CHECK(contents(folder / "kept").count("model.layers.1.self_attn.v_proj.v_bias") == 1);
}

TEST_CASE(
    "delete-experts: what does not fit is refused with one sentence, and nothing is written") {
  const TempFolder folder;
  folder.write("good.json", mask_of({kGone, kGone, kGone}));
  folder.write("long.json", mask_of({kGone, kGone, kGone, kGone}));
  folder.write("many.json", mask_of({{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
                                     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
                                     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}));
  const auto refused = [&](Json options, const std::string& word) {
    options["model"] = kSingle;
    options["out"] = folder / "out";
    const auto ran = run("delete-experts", options);
    INFO(ran.status.message());
    CHECK_FALSE(ran.status.ok());
    CHECK(says(ran.status, word));
  };
  refused({}, "compare_with");
  refused({{"deleted_experts_file", folder / "good.json"}}, "num_retained_experts");
  refused({{"deleted_experts_file", folder / "good.json"}, {"num_retained_experts", 13}},
          "layer 0 lists 4 experts; wanted are 3");
  refused({{"deleted_experts_file", folder / "long.json"}, {"num_retained_experts", 12}},
          "layer 3");
  refused({{"deleted_experts_file", folder / "many.json"}, {"num_retained_experts", 3}},
          "a token is sent to 4");
  refused({{"deleted_experts_file", folder / "none.json"}, {"num_retained_experts", 12}},
          "none.json");
  refused({{"deleted_experts_file", folder / "good.json"},
           {"num_retained_experts", 12},
           {"num_original_experts", 256}},
          "the model has 16");
  refused({{"compare_with", kPruned}, {"num_retained_experts", 11}}, "the reference has 12");
  refused({{"compare_with", golden::kModels + "bf16"}}, "layers");
  refused({{"compare_with", kPruned}, {"deleted_experts_file", folder / "good.json"}}, "not both");
  CHECK(folder.n_files() == 3);
}

TEST_CASE("delete-experts: stopped and resumed, the output is the same to the byte") {
  const TempFolder folder;
  folder.write("mask.json", mask_of({kGone, kGone, kGone}));
  const auto options = [&](const std::string& out) {
    return Json{{"model", kSingle},
                {"out", folder / out},
                {"num_retained_experts", 12},
                {"max_shard", 40000u},
                {"deleted_experts_file", folder / "mask.json"}};
  };
  const auto whole = run("delete-experts", options("whole"));
  INFO(whole.status.message());
  REQUIRE(whole.status.ok());
  const auto stopped = run("delete-experts", options("stopped"), verbs::stopping_after(0));
  CHECK(stopped.status.code() == Code::cancelled);
  CHECK_FALSE(std::filesystem::exists(folder / "stopped"));
  const auto resumed = run("resume", {{"out", folder / "stopped"}});
  INFO(resumed.status.message());
  REQUIRE(resumed.status.ok());
  for (const auto& entry : std::filesystem::directory_iterator(folder / "whole")) {
    const std::string file = entry.path().filename().string();
    INFO(file);
    CHECK(read_file(folder / "stopped/" + file) == read_file(entry.path().string()));
  }
}

TEST_CASE("tensor match: the golden routers through one operation, refusals included") {
  const TempFolder folder;
  const Json all = golden::read_json(kTools + "match/match.json");
  for (const Json& one : all.at("cases")) {
    const auto name = one.at("case").get<std::string>();
    INFO(name);
    const std::string out = folder / (name + ".safetensors");
    const auto ran = run("tensor", {{"op", "match"},
                                    {"in", kTools + "match/routers.safetensors"},
                                    {"tensors", {one.at("original"), one.at("reference")}},
                                    {"out", out}});
    INFO(ran.status.message());
    if (one.at("refuse").get<bool>()) {
      CHECK(ran.status.code() == Code::check_failed);
      CHECK_FALSE(std::filesystem::exists(out));
      continue;
    }
    REQUIRE(ran.status.ok());
    const Json& figures = ran.report.at("figures");
    CHECK(figures.at("deleted") == one.at("expected").at("deleted"));
    CHECK(figures.at("retained_in_reference_order") ==
          one.at("expected").at("retained_in_reference_order"));
    CHECK(Json(golden::Tensors(out).read<int32_t>("deleted")) == figures.at("deleted"));
  }
}

TEST_CASE("tensor reap: the golden layers through one operation") {
  const TempFolder folder;
  const Json all = golden::read_json(kTools + "reap/reap.json");
  for (const Json& one : all.at("layers")) {
    const std::string tag = one.at("layer").get<std::string>() + "/";
    Json names = Json::array();
    for (const char* name :
         {"router.weight", "router.e_score_correction_bias", "w1", "w2", "w3", "tokens"}) {
      names.push_back(tag + name);
    }
    const std::string out = folder / "out.safetensors";
    Json options = {{"op", "reap"},
                    {"in", kTools + "reap/reap.safetensors"},
                    {"tensors", names},
                    {"params", {{"top_k", 4}, {"ratio", 0.25}}},
                    {"out", out}};
    const auto ran = run("tensor", options);
    INFO(ran.status.message());
    REQUIRE(ran.status.ok());
    CHECK(ran.report.at("figures").at("kept") == one.at("keep_by_reap").at("0.25").at("keep"));
    const auto saliency = golden::Tensors(out).read<double>("reap");
    for (size_t i = 0; i < saliency.size(); ++i) {
      CHECK(std::fabs(saliency[i] - one.at("reap")[i].get<double>()) <= 1e-12 * saliency[i]);
    }
    options["params"] = {{"top_k", 4}, {"ratio", 0.9}};
    CHECK(run("tensor", options).status.code() == Code::invalid_argument);
    options["params"] = {{"ratio", 0.25}};
    CHECK(says(run("tensor", options).status, "top_k"));
    options["params"] = {{"top_k", 4}, {"method", "magic"}};
    CHECK(says(run("tensor", options).status, "method"));
    options["tensors"].erase(5);
    options["params"] = {{"top_k", 4}};
    CHECK(says(run("tensor", options).status, "wanted are 6"));
  }
}

TEST_CASE("forensics: experts in another order are paired by their routers") {
  support::EditedModel moved("bf16_single");
  constexpr int kExperts = 16;
  const auto place = [](int expert) { return (expert * 5 + 3) % kExperts; };  // in the moved model
  for (int layer = 0; layer < 3; ++layer) {
    const std::string moe = join("model.layers.", layer, ".block_sparse_moe.");
    for (const char* name : {"gate.weight", "e_score_correction_bias"}) {
      std::string& rows = moved.at(moe + name).bytes;
      const std::string before = rows;
      const size_t width = rows.size() / kExperts;
      for (int e = 0; e < kExperts; ++e) {
        rows.replace(static_cast<size_t>(place(e)) * width, width,
                     before.substr(static_cast<size_t>(e) * width, width));
      }
    }
    for (auto& tensor : moved.tensors) {
      const std::string start = moe + "experts.";
      if (!tensor.name.starts_with(start)) continue;
      const int expert = std::stoi(tensor.name.substr(start.size()));
      const std::string end = tensor.name.substr(tensor.name.find('.', start.size()));
      tensor.name = join("moved.", moe, "experts.", place(expert), end);
    }
  }
  for (auto& tensor : moved.tensors) {
    if (tensor.name.starts_with("moved.")) tensor.name.erase(0, 6);
  }
  const Json plain = {{"a", kSingle}, {"b", moved.save()}};
  Json matching = plain;
  matching["match_experts"] = true;
  const auto by_name = run("forensics", plain), by_router = run("forensics", matching);
  INFO(by_router.status.message());
  REQUIRE(by_name.status.ok());
  REQUIRE(by_router.status.ok());
  CHECK(by_name.report.at("changes").at("values").get<int>() >= 3 * 3 * kExperts - 9);
  CHECK(by_router.report.at("changes").at("values") == 0);
  CHECK(by_router.report.at("renumbered_routers").size() == 6);
  CHECK(by_router.report.at("matched_experts").at("by_layer").size() == 3);
  for (const Json& row : by_router.report.at("tensors")) {
    if (row.at("name") != "model.layers.1.block_sparse_moe.experts.2.w1.weight") continue;
    CHECK(row.at("name_b") ==
          join("model.layers.1.block_sparse_moe.experts.", place(2), ".w1.weight"));
  }
}

TEST_CASE("forensics: a pruned model beside its original, and one that is no relative") {
  support::EditedModel edited("bf16_single");
  const Json options = {{"a", base_of_pruned(edited)}, {"b", kPruned}, {"match_experts", true}};
  const auto ran = run("forensics", options);
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  CHECK(ran.report.at("changes").at("values") == 0);
  CHECK(ran.report.at("only_in_a").size() == 3 * 3 * kGone.size());
  CHECK_FALSE(ran.report.contains("only_in_b"));
  const auto refused =
      run("forensics", {{"a", golden::kModels + "bf16"}, {"b", kPruned}, {"match_experts", true}});
  CHECK(refused.status.code() == Code::check_failed);
}
