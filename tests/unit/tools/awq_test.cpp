// quantize --algo awq: what the scales are folded into, and that the model computes the same.
#include <algorithm>
#include <cmath>

#include "format/atomic_writer.h"
#include "tools/calibrate/layer_walk.h"
#include "unit/tools/run_verb.h"

using namespace mm2;
using verbs::contents;
using verbs::run;
using verbs::says;

namespace {

const std::string kModel = std::string(MM2_TEST_DATA) + "/models/bf16";

std::string token_file(const TempFolder& folder) {
  std::string text;
  uint32_t state = 7;
  for (int sample = 0; sample < 4; ++sample) {
    std::string ids;
    for (int i = 0; i < 100; ++i) {
      state = state * 1664525u + 1013904223u;
      ids += join(i == 0 ? "" : ", ", (state >> 8) % 256);
    }
    text += "{\"ids\": [" + ids + "]}\n";
  }
  REQUIRE(write_text_file(folder / "tokens.jsonl", text).ok());
  return folder / "tokens.jsonl";
}

std::string statistics(const TempFolder& folder, Json collect) {
  const std::string out = folder / "stats.safetensors";
  const auto ran = run("calibrate", {{"model", kModel},
                                     {"tokens", token_file(folder)},
                                     {"collect", std::move(collect)},
                                     {"out", out}});
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  return out;
}

Json recipe(const std::string& stats, const std::string& out) {
  return {{"model", kModel}, {"format", "gptq"}, {"algo", "awq"}, {"group", 32},
          {"sym", false},    {"stats", stats},   {"out", out}};
}

Json quantized(const Json& options) {
  const auto ran = run("quantize", options);
  INFO(ran.status.message());
  REQUIRE(ran.status.ok());
  return ran.report;
}

std::shared_ptr<CheckpointView> open(const std::string& path) {
  const auto view = CheckpointView::open(path, {});
  INFO(view.status().message());
  REQUIRE(view.ok());
  return *view;
}

std::vector<float> numbers(const CheckpointView& view, const std::string& name) {
  const ViewWeight* const weight = view.find(name);
  REQUIRE(weight != nullptr);
  std::vector<float> all(static_cast<size_t>(weight->place.n_rows() * weight->place.n_cols()));
  REQUIRE(view.rows(*weight, 0, weight->place.n_rows(), all.data()).ok());
  return all;
}

// The hidden states after the last layer.
std::vector<float> hidden_states(const std::string& path) {
  const auto view = open(path);
  TokenSamples samples;
  samples.starts = {0};
  for (int i = 0; i < 60; ++i) {
    samples.tokens.push_back(i * 4 + 1);
    samples.counted.push_back(1);
  }
  samples.starts.push_back(samples.tokens.size());
  auto walk = LayerWalk::create(*view, samples, inline_executor(), {});
  REQUIRE(walk.ok());
  const ModelConfig& c = view->config();
  std::vector<float> hidden(samples.n_tokens() * static_cast<size_t>(c.hidden));
  REQUIRE((*walk)->embed(hidden).ok());
  const CollectOptions nothing{.reap = false};
  for (int32_t l = 0; l < c.n_layers; ++l) {
    LayerObservation seen(c.n_experts, c.hidden, c.q_width(), c.intermediate, c.n_kv_heads,
                          nothing);
    REQUIRE((*walk)->layer(l, hidden, nothing, seen).ok());
  }
  return hidden;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - b[i], 2);
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("awq: norms take the scales, and the model computes what it did but for its codes") {
  const TempFolder folder;
  const std::string stats = statistics(folder, {"imatrix", "hessian"});
  Json options = recipe(stats, folder / "awq");
  options["bits"] = 8;
  const Json report = quantized(options);
  CHECK(report.at("scaled_sets").get<int>() > 4);  // more than the norms: experts' w2 too
  options["algo"] = "rtn";
  options["out"] = folder / "rtn";
  quantized(options);

  const auto before = open(kModel), after = open(folder / "awq");
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    const std::string norm = std::string(layer) + "post_attention_layernorm.weight";
    const std::string router = std::string(layer) + "block_sparse_moe.gate.weight";
    const auto n0 = numbers(*before, norm), n1 = numbers(*after, norm);
    const auto r0 = numbers(*before, router), r1 = numbers(*after, router);
    CHECK(n0 != n1);
    CHECK(after->find(norm)->description.dtype() == before->find(norm)->description.dtype());
    CHECK(after->find(router)->description.dtype() == Dtype::f32);
    int n_wrong = 0;
    for (size_t i = 0; i < r0.size(); ++i) {
      const double was = double{n0[i % n0.size()]} * r0[i];
      const double is = double{n1[i % n1.size()]} * r1[i];
      n_wrong += std::fabs(is - was) > 0x1p-23 * std::fabs(was);  // one rounding to F32
    }
    CHECK(n_wrong == 0);
  }
  // At 8 bits what is left is the error of codes. A scale that was not taken back changes outputs
  // by about their own size, a hundred times as much.
  const auto want = hidden_states(kModel);
  const double rounded = distance(hidden_states(folder / "rtn"), want);
  CHECK(rounded > 0);
  CHECK(distance(hidden_states(folder / "awq"), want) < 3 * rounded);
}

TEST_CASE("awq: what reads the same inputs as a matrix left out is not scaled") {
  const TempFolder folder;
  const std::string stats = statistics(folder, {"imatrix"});
  Json options = recipe(stats, folder / "some");
  options["ignore"] = {"model.layers.0.block_sparse_moe.experts.2.w1",
                       "model.layers.1.self_attn.v_proj"};
  quantized(options);
  const auto before = contents(kModel), after = contents(folder / "some");
  for (const char* same :
       {"model.layers.0.post_attention_layernorm.weight", "model.layers.1.input_layernorm.weight",
        "model.layers.0.block_sparse_moe.gate.weight"}) {
    INFO(same);
    CHECK(after.at(same) == before.at(same));
  }
  for (const char* other : {"model.layers.1.post_attention_layernorm.weight",
                            "model.layers.0.input_layernorm.weight"}) {
    INFO(other);
    CHECK(after.at(other) != before.at(other));
  }
}

TEST_CASE("awq: one thread or three, the same bytes, and a dry run plans the same tensors") {
  const TempFolder folder;
  Json options = recipe(statistics(folder, {"imatrix"}), folder / "one");
  options["threads"] = 1;
  const Json one = quantized(options);
  options["threads"] = 3;
  options["out"] = folder / "three";
  quantized(options);
  CHECK(contents(folder / "one") == contents(folder / "three"));
  options["out"] = folder / "none";
  options["dry_run"] = true;
  const Json dry = quantized(options);
  CHECK(dry.at("matrices") == one.at("matrices"));
}

TEST_CASE("awq: without sizes of inputs, and for other codes than integers, it is refused") {
  const TempFolder folder;
  const std::string stats = statistics(folder, {"act"});
  const auto lacking = run("quantize", recipe(stats, folder / "a"));
  CHECK(lacking.status.code() == Code::invalid_argument);
  CHECK(says(lacking.status, "calibrate --collect imatrix"));
  Json options = recipe("", folder / "a");
  CHECK(says(run("quantize", options).status, "algo awq wants stats"));
  options["format"] = "nvfp4";
  CHECK(says(run("quantize", options).status, "must be rtn for nvfp4"));
}
