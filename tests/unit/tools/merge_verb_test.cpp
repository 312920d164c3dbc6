// The verb merge, through run_tool, and its pieces alone.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>

#include "support/golden.h"
#include "tensor/convert.h"
#include "tools/merge/pair_scan.h"
#include "tools/merge_output.h"
#include "tools/stream/hash.h"
#include "tools/tools.h"
#include "unit/format/temp_folder.h"

using namespace mm2;

namespace {

const std::string kData = std::string(MM2_TEST_DATA) + "/";
const std::string kA = kData + "models/bf16_single", kB = kData + "tools/pair/model_b";
const std::string kFp8 = kData + "models/fp8", kBf16 = kData + "models/bf16";

struct Ran {
  Status status;
  Json report;
};

Ran merge(Json options) {
  Ran ran;
  ran.status = run_tool("merge", options, Host{}, &ran.report);
  return ran;
}

Ran merged(const Json& models, const std::string& out, Json more = Json::object()) {
  more["models"] = models;
  more["out"] = out;
  const Ran ran = merge(more);
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  return ran;
}

std::vector<std::byte> bytes_of(const std::string& model, const std::string& name) {
  const auto file = Checkpoint::open(model, Host{});
  REQUIRE(file.ok());
  const TensorInfo* info = (*file)->find(name);
  INFO(name);
  REQUIRE(info != nullptr);
  std::vector<std::byte> bytes(info->bytes);
  REQUIRE((*file)->read(*info, 0, bytes.size(), bytes.data()).ok());
  return bytes;
}

std::string digest(const std::string& model, const std::string& name) {
  const auto bytes = bytes_of(model, name);
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.finish().substr(0, 32);
}

// Elements of two BF16 tensors that differ.
size_t n_differing(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  REQUIRE(a.size() == b.size());
  size_t n = 0;
  for (size_t i = 0; i < a.size(); i += 2) n += std::memcmp(&a[i], &b[i], 2) != 0 ? 1 : 0;
  return n;
}

bool passes_verify(const std::string& model) {
  Json report;
  const Status status =
      run_tool("verify", {{"model", model}, {"deep", true}, {"hash", true}}, Host{}, &report);
  INFO(status.message());
  CHECK(status.ok());
  return status.ok();
}

double class_figure(const Json& report, const char* name, const char* figure) {
  for (const Json& one : report.at("classes")) {
    if (one.at("class") == name) return one.at(figure).get<double>();
  }
  FAIL(name);
  return 0;
}

}  // namespace

TEST_CASE("merge: a whole checkpoint comes out as mergekit makes it, t = 0.5 and by the schedule") {
  const TempFolder folder;
  const Json facts = golden::read_json(kData + "tools/pair/pair.json");
  Json scan = {{"tensors", Json::array()}};
  for (const Json& row : facts.at("rows"))
    scan["tensors"].push_back(
        {{"name", row.at("name")}, {"t", row.at("t")}, {"delta", row.at("delta")}});
  const std::string table = folder.write("scan.json", scan.dump());
  merged({kA, kB}, folder / "t0.5", {{"t", 0.5}});
  merged({kA, kB}, folder / "slurpy", {{"t_from", table}});
  size_t n_same = 0;
  for (const char* tag : {"t0.5", "slurpy"}) {
    CHECK(passes_verify(folder / tag));
    for (const Json& row : facts.at("rows")) {
      const std::string name = row.at("name").get<std::string>();
      // Where FP32 and FP64 round alike, all bytes are the tool's; elsewhere it says how many are not.
      if (row.at(tag).at("share_differing_from_rounded_f64") != 0.0) continue;
      INFO(tag << " " << name);
      CHECK(digest(folder / tag, name) == row.at(tag).at("mergekit_sha256").get<std::string>());
      ++n_same;
    }
  }
  CHECK(n_same > 250);
  // The same schedule from the deltas.
  merged({kA, kB}, folder / "formula", {{"t_from", table}, {"t_formula", "slurpy"}});
  size_t n_other = 0;
  for (const Json& row : facts.at("rows")) {
    if (row.at("dtype") != "BF16") continue;
    const std::string name = row.at("name").get<std::string>();
    n_other += n_differing(bytes_of(folder / "formula", name), bytes_of(folder / "slurpy", name));
  }
  CHECK(n_other <= 5);  // t in its last bits
}

TEST_CASE("merge: the same bytes for any number of threads, and a report of every tensor") {
  const TempFolder folder;
  const Json more = {{"method", "dare_ties"},
                     {"weights", {0, 0.7}},
                     {"parameters", {{"density", 0.5}}},
                     {"seed", 3}};
  Json one = more, three = more;
  one["threads"] = 1;
  three["threads"] = 3;
  const Ran ran = merged({kA, kB}, folder / "one", one);
  merged({kA, kB}, folder / "three", three);
  CHECK(read_file(folder / "one/model.safetensors") ==
        read_file(folder / "three/model.safetensors"));
  CHECK(read_file(folder / "one/manifest.json") == read_file(folder / "three/manifest.json"));
  CHECK(ran.report.at("merged") == 177);
  const Json report = golden::read_json(folder / "one/merge_report.json");
  CHECK(report.at("tensors").size() == 177);
  Json other = more;
  other["seed"] = 4;
  merged({kA, kB}, folder / "other", other);
  CHECK(read_file(folder / "one/model.safetensors") !=
        read_file(folder / "other/model.safetensors"));
}

TEST_CASE("merge: FP8 parents give FP8, nearer with searched scales, and nothing in BF16 between") {
  const TempFolder folder;
  merged({kFp8, kBf16}, folder / "b", {{"t", 0.4}, {"scale_search", "amax"}});
  const Ran mse = merged({kFp8, folder / "b"}, folder / "mse", {{"t", 0.5}});
  const Ran amax =
      merged({kFp8, folder / "b"}, folder / "amax", {{"t", 0.5}, {"scale_search", "amax"}});
  CHECK(passes_verify(folder / "mse"));
  const Json config = golden::read_json(folder / "mse/config.json");
  CHECK(config.at("quantization_config") ==
        golden::read_json(kFp8 + "/config.json").at("quantization_config"));
  for (const char* name : {"w1", "w2", "w3", "q_proj"}) {
    INFO(name);
    // The error of FP8 in blocks is about 0.027 for whatever lies between the grid's numbers.
    CHECK(class_figure(amax.report, name, "rel_l2") < 0.032);
    CHECK(class_figure(mse.report, name, "rel_l2") <= class_figure(amax.report, name, "rel_l2"));
    CHECK(std::abs(class_figure(mse.report, name, "norm_ratio") - 1) < 2e-3);
  }
  CHECK(class_figure(mse.report, "lm_head", "rel_l2") < 2e-3);  // BF16
}

TEST_CASE("merge: t = 0 gives the numbers of the base, and FP8 its codes and scales") {
  const TempFolder folder;
  merged({kFp8, kBf16}, folder / "out", {{"t", 0.0}});
  const auto a = CheckpointView::open(kFp8, Host{}),
             b = CheckpointView::open(folder / "out", Host{});
  REQUIRE(a.ok());
  REQUIRE(b.ok());
  for (const ViewWeight& weight : (*a)->weights()) {
    INFO(weight.place.name);
    const auto n = static_cast<size_t>(weight.place.n_rows() * weight.place.n_cols());
    std::vector<float> x(n), y(n);
    REQUIRE((*a)->rows(weight, 0, weight.place.n_rows(), x.data()).ok());
    REQUIRE((*b)->rows(*(*b)->find(weight.place.name), 0, weight.place.n_rows(), y.data()).ok());
    CHECK(x == y);
  }
}

TEST_CASE("merge: out_dtype turns FP8 into plain and back, and config.json follows") {
  const TempFolder folder;
  merged({kFp8, kBf16}, folder / "plain", {{"t", 0.5}, {"out_dtype", "bf16"}});
  CHECK_FALSE(golden::read_json(folder / "plain/config.json").contains("quantization_config"));
  CHECK(passes_verify(folder / "plain"));
  merged({folder / "plain", kBf16}, folder / "fp8", {{"t", 0.5}, {"out_dtype", "fp8block"}});
  const Json config = golden::read_json(folder / "fp8/config.json");
  CHECK(config.at("quantization_config").at("quant_method") == "fp8");
  CHECK(passes_verify(folder / "fp8"));
}

TEST_CASE("merge: only what was asked for is merged, the rest is the base's byte for byte") {
  const TempFolder folder;
  const Ran ran = merged({kA, kB}, folder / "out", {{"t", 0.5}, {"only", {"experts"}}});
  CHECK(ran.report.at("merged") == 144);
  CHECK(ran.report.at("copied") == 33);
  CHECK(bytes_of(folder / "out", "lm_head.weight") == bytes_of(kA, "lm_head.weight"));
  const std::string expert = "model.layers.0.block_sparse_moe.experts.0.w1.weight";
  CHECK(bytes_of(folder / "out", expert) != bytes_of(kA, expert));
}

TEST_CASE("merge: a recipe's rules, models and types are followed") {
  const TempFolder folder;
  const Json recipe = {
      {"models", {{{"model", kA}}, {{"model", kB}}}},
      {"base_model", kA},
      {"merge_method", "slerp"},
      {"parameters", {{"t", {{{"filter", "self_attn"}, {"value", 1}}, {{"value", 0}}}}}},
      {"rules",
       {{{"tensors", "*experts.3.*"}, {"copy", kB}},
        {{"tensors", "lm_head.*"},
         {"merge_method", "linear"},
         {"parameters", {{"weight", 1}}},
         {"dtype", "float32"}}}}};
  const Ran ran = merge({{"recipe", recipe}, {"out", folder / "out"}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  const std::string attention = "model.layers.1.self_attn.q_proj.weight";
  const std::string expert = "model.layers.0.block_sparse_moe.experts.3.w2.weight";
  const std::string other = "model.layers.0.block_sparse_moe.experts.2.w2.weight";
  CHECK(bytes_of(folder / "out", attention) == bytes_of(kB, attention));
  CHECK(bytes_of(folder / "out", expert) == bytes_of(kB, expert));
  CHECK(bytes_of(folder / "out", other) == bytes_of(kA, other));
  CHECK(bytes_of(folder / "out", "lm_head.weight").size() ==
        2 * bytes_of(kA, "lm_head.weight").size());
  // Where the parents lie is nobody's business.
  CHECK(read_file(folder / "out/manifest.json").find(kData) == std::string::npos);
}

TEST_CASE("merge: wrong parents, recipes and numbers are one sentence, and nothing is written") {
  const TempFolder folder;
  const auto refused = [&](Json options, const std::string& why) {
    options["out"] = folder / "out";
    const Ran ran = merge(options);
    INFO(ran.status.message());
    CHECK_FALSE(ran.status.ok());
    CHECK(ran.status.message().find(why) != std::string::npos);
    CHECK(ran.status.message().find('\n') == std::string::npos);
    CHECK_FALSE(std::filesystem::exists(folder / "out"));
    CHECK_FALSE(std::filesystem::exists(folder / "out.partial"));
  };
  refused({{"models", {kA, kB}}}, "t is missing");
  refused({{"models", {kA, kB}}, {"t", 1.5}}, "option t");
  refused({{"models", {kA, kData + "models/pruned"}}, {"t", 0.5}}, "pruned");
  refused({{"models", {kData + "models/pruned", kA}}, {"t", 0.5}}, "pruned");
  refused({{"models", {kA, kBf16}}, {"t", 0.5}}, "model.embed_tokens.weight is");
  refused({{"models", {kA}}, {"t", 0.5}}, "exactly 2 parents");
  refused({{"models", {kA, kB}}, {"method", "linear"}, {"weights", {1, -1}}}, "add up to 0");
  refused({{"models", {kA, kB}}, {"method", "blend"}}, "no method \"blend\"");
  refused({{"models", {kA, kB}}, {"t", 0.5}, {"parameters", {{"tt", 1}}}}, "no parameter \"tt\"");
  refused({{"models", {kA, kB}}, {"t", 0.5}, {"only", {"heads"}}}, "option only");
  refused({{"models", {kA, kB}}, {"recipe", Json::object()}}, "stands in the recipe");
  refused({{"models", {kData + "models/gptq", kBf16}}, {"t", 0.5}}, "which merge does not write");
  refused({{"models", {kA, kB}}, {"t_from", folder.write("bad.json", "{}")}},
          "no list \"tensors\"");
  refused({{"models", {kA, kB}}, {"t", 0.5}, {"tokenizer_from", "C"}}, "tokenizer_from: C");
}

TEST_CASE("merge: parents with other tokenizers are refused until one is named") {
  const TempFolder folder;
  for (const char* name : {"a", "b"}) {
    std::filesystem::copy(name[0] == 'a' ? kA : kB, folder / name,
                          std::filesystem::copy_options::recursive);
    folder.write(std::string(name) + "/tokenizer.json", name);
    folder.write(std::string(name) + "/chat_template.jinja", name);
  }
  const Ran ran =
      merge({{"models", {folder / "a", folder / "b"}}, {"t", 0.5}, {"out", folder / "out"}});
  CHECK(ran.status.code() == Code::invalid_argument);
  CHECK(ran.status.message().find("tokenizer.json") != std::string::npos);
  merged({folder / "a", folder / "b"}, folder / "out",
         {{"t", 0.5}, {"tokenizer_from", folder / "b"}});
  CHECK(read_file(folder / "out/tokenizer.json") == "b");
  CHECK(read_file(folder / "out/chat_template.jinja") == "b");
}

TEST_CASE(
    "merge: NaN in a parent stops the merge with tensor and place, and nothing is published") {
  const TempFolder folder;
  std::filesystem::copy(kB, folder / "b", std::filesystem::copy_options::recursive);
  const auto view = Checkpoint::open(folder / "b", Host{});
  REQUIRE(view.ok());
  const TensorInfo* info = (*view)->find("model.layers.1.self_attn.k_proj.weight");
  REQUIRE(info != nullptr);
  std::string bytes = read_file(folder / "b/model.safetensors");
  bytes[info->offset + 2 * 5] = static_cast<char>(0xc0);
  bytes[info->offset + 2 * 5 + 1] = 0x7f;
  folder.write("b/model.safetensors", bytes);
  const Ran ran = merge({{"models", {kA, folder / "b"}}, {"t", 0.5}, {"out", folder / "out"}});
  CHECK(ran.status.code() == Code::numeric);
  CHECK(ran.status.message().find(
            "model.layers.1.self_attn.k_proj.weight: parent 1 has NaN at row 0, column 5") !=
        std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
}

TEST_CASE("merge: a weight in slabs is the same bytes as in one piece, in any order of pieces") {
  for (const MergeMethod method : {MergeMethod::slerp, MergeMethod::ties}) {
    std::vector<std::string> results;
    for (const bool slabs : {false, true}) {
      WritePlan plan;
      MergedWeight weight;
      weight.name = "lm_head.weight";
      for (const std::string& path : {kBf16, kFp8}) {
        auto view = CheckpointView::open(path, Host{});
        REQUIRE(view.ok());
        weight.views.push_back(*view);
        weight.parents.push_back(
            (*view)->find("model.layers.0.block_sparse_moe.experts.0.w2.weight"));
        REQUIRE(weight.parents.back() != nullptr);
      }
      weight.rule.method = method;
      weight.rule.base = 0;
      weight.rule.t = 0.3;
      weight.rule.parents.resize(2);
      weight.rule.parents[1].weight = 1;
      weight.rule.parents[1].density = 0.3;
      weight.kind = MergedKind::fp8;
      if (slabs) weight.whole_numbers = weight.slab_numbers = 1;
      std::vector<Piece> later;
      plan_merged(weight, 0, plan, later);
      plan.pieces.insert(plan.pieces.end(), later.begin(), later.end());
      CHECK(plan.pieces.size() == (slabs ? 2 : 1));
      std::vector<std::vector<std::byte>> tensors;
      for (const OutputTensor& tensor : plan.tensors)
        tensors.emplace_back(*tensor_bytes(tensor.shape, tensor.dtype));
      for (size_t p = plan.pieces.size(); p-- > 0;) {
        const Piece& piece = plan.pieces[p];
        std::vector<std::byte> scratch(piece.scratch);
        PieceRun run;
        run.scratch = scratch;
        for (const OutputRange& range : piece.outputs)
          run.outputs.push_back(std::span(tensors[range.tensor]).subspan(range.from, range.n));
        const Status status = piece.run(run);
        INFO(status.message());
        REQUIRE(status.ok());
      }
      std::string all;
      for (const auto& tensor : tensors)
        all.append(reinterpret_cast<const char*>(tensor.data()), tensor.size());
      results.push_back(all);
    }
    CHECK(results[0] == results[1]);
  }
}

TEST_CASE("merge: Gaussian FP8 parents at t = 0.5 lose 2.3 percent at most, and no length") {
  // Midway between two parents many numbers lie midway between two codes: scales by amax round them
  // towards zero and cost half a percent of the norm; the search does not.
  constexpr int64_t kRows = 512, kCols = 1024, kN = kRows * kCols;
  constexpr double kCos = 0.9953;
  std::mt19937 engine(11);
  std::normal_distribution<double> normal(0, 0.02);
  std::vector<float> latent[2] = {std::vector<float>(kN), std::vector<float>(kN)};
  for (size_t i = 0; i < kN; ++i) {
    const double x = normal(engine), y = normal(engine);
    latent[0][i] = static_cast<float>(x);
    latent[1][i] = static_cast<float>(kCos * x + std::sqrt(1 - kCos * kCos) * y);
  }
  const auto through_fp8 = [](const std::vector<float>& values, Fp8Rule rule) {
    std::vector<uint8_t> codes(values.size());
    std::vector<float> scales((kRows / 128) * (kCols / 128)), back(values.size());
    Fp8Options options;
    options.rule = rule;
    REQUIRE(
        quantize_fp8({values.data(), kRows, kCols, 0}, options, codes.data(), scales.data()).ok());
    for (size_t i = 0; i < back.size(); ++i) {
      const size_t row = i / kCols, col = i % kCols;
      back[i] = e4m3_to_f32(codes[i]) * scales[row / 128 * (kCols / 128) + col / 128];
    }
    return back;
  };
  const auto a = through_fp8(latent[0], Fp8Rule::amax), b = through_fp8(latent[1], Fp8Rule::amax);
  MergeRule rule;
  rule.base = 0;
  rule.t = 0.5;
  rule.parents.resize(2);
  std::vector<float> merged(kN);
  const float* parents[] = {a.data(), b.data()};
  REQUIRE(merge_tensor(rule, "w", Shape{kRows, kCols}, parents, merged.data()).ok());
  const auto figures = [&](Fp8Rule how) {
    const auto stored = through_fp8(merged, how);
    PairScan scan("w", Shape{kRows, kCols});
    REQUIRE(scan.add(0, kRows, merged.data(), stored.data()).ok());
    return *scan.finish();
  };
  const PairFigures mse = figures(Fp8Rule::mse), amax = figures(Fp8Rule::amax);
  CHECK(mse.rel_l2 <= 0.0230);
  CHECK(std::abs(mse.norm_ratio - 1) <= 1e-3);
  CHECK(amax.rel_l2 > 0.029);
  CHECK(amax.norm_ratio < 0.996);
}
