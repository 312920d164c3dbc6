// Recipes: mergekit's shape, read strictly, and looked up by tensor.
#include <catch2/catch.hpp>

#include "base/json.h"
#include "tools/merge/merge_plan.h"

using namespace mm2;

namespace {

Result<Recipe> parse(const std::string& text) {
  auto json = parse_json(text, "r.json");
  REQUIRE(json.ok());
  return parse_recipe(*json, "r.json");
}

MergePlan plan_of(const std::string& text, int32_t n_layers = 5) {
  auto recipe = parse(text);
  INFO(recipe.status().message());
  REQUIRE(recipe.ok());
  return MergePlan::make(*std::move(recipe), n_layers);
}

PlannedMerge find(const MergePlan& plan, const char* tensor) {
  auto found = plan.find(tensor);
  INFO(found.status().message());
  REQUIRE(found.ok());
  return *std::move(found);
}

const std::string kModels = R"("models": [{"model": "A"}, {"model": "B"}], "base_model": "A")";

}  // namespace

TEST_CASE("recipe: t as a number, along the depth, by filters, in mergekit's order") {
  const MergePlan plan = plan_of("{" + kModels + R"(, "merge_method": "slerp", "parameters": {"t": [
      {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
      {"filter": "experts", "value": [1, 0]},
      {"filter": "*", "value": 0.25}]}})");
  CHECK(find(plan, "model.layers.0.self_attn.q_proj.weight").rule.t == 0.0);
  CHECK(find(plan, "model.layers.1.self_attn.q_proj.weight").rule.t == 0.5);
  CHECK(find(plan, "model.layers.4.self_attn.q_proj.weight").rule.t == 1.0);
  CHECK(find(plan, "model.layers.1.block_sparse_moe.experts.3.w1.weight").rule.t == 0.75);
  CHECK(find(plan, "model.norm.weight").rule.t == 0.25);
  CHECK(find(plan, "model.norm.weight").rule.base == 0);
  CHECK(plan.depth_of("model.embed_tokens.weight") == 0);
  CHECK(plan.depth_of("lm_head.weight") == 1);
  CHECK(plan.depth_of("model.layers.2.x") == 0.5);
}

TEST_CASE("recipe: a model's parameters come before the rule's and the recipe's") {
  const MergePlan plan = plan_of(R"({"merge_method": "linear", "models": [
      {"model": "A", "parameters": {"weight": 2}}, {"model": "B"}],
      "parameters": {"weight": 5, "normalize": false},
      "rules": [{"tensors": "*norm*", "parameters": {"weight": 7}},
                {"tensors": ["*.gate.weight", "lm_head.*"], "copy": "B"},
                {"tensors": "*.w2.*", "merge_method": "karcher", "dtype": "float32"}]})");
  const PlannedMerge plain = find(plan, "model.layers.0.self_attn.q_proj.weight");
  CHECK(plain.rule.method == MergeMethod::linear);
  CHECK(*plain.rule.parents[0].weight == 2);
  CHECK(*plain.rule.parents[1].weight == 5);
  CHECK(*plain.rule.normalize == false);
  CHECK(*find(plan, "model.norm.weight").rule.parents[1].weight == 7);
  const PlannedMerge copied = find(plan, "model.layers.0.block_sparse_moe.gate.weight");
  CHECK(copied.copies);
  CHECK(copied.parents == std::vector<int>{1});
  CHECK(find(plan, "lm_head.weight").copies);
  const PlannedMerge karcher = find(plan, "model.layers.0.block_sparse_moe.experts.1.w2.weight");
  CHECK(karcher.rule.method == MergeMethod::karcher);
  CHECK(karcher.dtype == "float32");
}

TEST_CASE("recipe: a base that is not listed takes part where the method has one") {
  const MergePlan plan = plan_of(R"({"merge_method": "ties", "base_model": "Z", "seed": 9,
      "models": [{"model": "A", "parameters": {"weight": 1, "density": 0.5}}, {"model": "B"}],
      "parameters": {"weight": 0.3, "int8_mask": true},
      "rules": [{"tensors": "*norm*", "merge_method": "linear"}]})");
  CHECK(plan.models() == std::vector<std::string>{"A", "B", "Z"});
  CHECK(plan.leader() == 2);
  const PlannedMerge ties = find(plan, "lm_head.weight");
  CHECK(ties.parents == std::vector<int>{0, 1, 2});
  CHECK(ties.rule.base == 2);
  CHECK(ties.rule.parents[0].density == 0.5);
  CHECK(ties.rule.seed == 9);
  const PlannedMerge linear = find(plan, "model.norm.weight");
  CHECK(linear.parents == std::vector<int>{0, 1});
  CHECK(linear.rule.base == -1);
}

TEST_CASE("recipe: a schedule gives t before the recipe does") {
  MergePlan plan =
      plan_of("{" + kModels + R"(, "merge_method": "slerp", "parameters": {"t": 0.1}})");
  plan.set_t("model.norm.weight", 0.85);
  CHECK(find(plan, "model.norm.weight").rule.t == 0.85);
  CHECK(find(plan, "lm_head.weight").rule.t == 0.1);
}

TEST_CASE("recipe: mergekit's slices of whole models are read") {
  const MergePlan plan = plan_of(R"({"slices": [{"sources": [
      {"model": "A", "layer_range": [0, 5]}, {"model": "B", "layer_range": [0, 5]}]}],
      "merge_method": "slerp", "base_model": "B", "parameters": {"t": 0.5}, "dtype": "bfloat16"})");
  CHECK(plan.models().size() == 2);
  CHECK(find(plan, "lm_head.weight").rule.base == 1);
  CHECK(find(plan, "lm_head.weight").dtype == "bfloat16");
}

TEST_CASE("recipe: what it does not know is refused by name") {
  const auto refused = [](const std::string& text, const std::string& why) {
    const Status status = parse(text).status();
    INFO(text << ": " << status.message());
    CHECK(status.code() == Code::format);
    CHECK(status.message().find(why) != std::string::npos);
    CHECK(status.message().find("r.json") == 0);
  };
  const std::string head = "{" + kModels + ", ";
  refused("[]", "must be an object");
  refused("{}", "\"merge_method\" is missing");
  refused(R"({"merge_method": "slerp"})", "neither \"models\" nor \"slices\"");
  refused(head + R"("merge_method": "blend"})", "there is no method \"blend\"");
  refused(head + R"("merge_method": "slerp", "metod": 1})", "\"metod\" is not known");
  refused(head + R"("merge_method": "slerp", "parameters": {"tt": 1}})",
          "slerp has no parameter \"tt\"; there are t");
  refused(head + R"("merge_method": "slerp", "parameters": {"t": "x"}})", "t: must be a number");
  refused(head + R"("merge_method": "slerp", "parameters": {"t": true}})", "t must be a number");
  refused(head + R"("merge_method": "slerp", "parameters": {"t": []}})", "empty list");
  refused(head + R"("merge_method": "linear", "parameters": {"normalize": 1}})",
          "normalize must be true or false");
  refused(head + R"("merge_method": "slerp", "parameters": {"t": [{"filtre": "x", "value": 1}]}})",
          "t[0]: \"filtre\" is not known");
  refused(head + R"("merge_method": "slerp", "dtype": "int8"})", "there is no type \"int8\"");
  refused(head + R"("merge_method": "slerp", "seed": -1})", "seed");
  refused(head + R"("merge_method": "slerp", "tokenizer_source": "C"})", "C is not one of");
  refused(head + R"("merge_method": "slerp", "rules": [{"tensors": "*", "copy": "C"}]})",
          "rules[0]: copy: C is not one of the models");
  refused(head + R"("merge_method": "slerp", "rules": [{"copy": "B"}]})", "rules[0]: tensors");
  refused(R"({"models": [{"model": "A"}, {"model": "A"}], "merge_method": "slerp"})",
          "the model A is there twice");
  refused(R"({"models": [], "merge_method": "slerp"})", "1 to 64 models");
  refused(R"({"slices": [1, 2], "merge_method": "slerp"})", "only one slice");
}

TEST_CASE(
    "recipe: a tensor that no filter takes, and a base that is missing, are refused by name") {
  const MergePlan plan = plan_of("{" + kModels + R"(, "merge_method": "slerp",
      "parameters": {"t": [{"filter": "self_attn", "value": 0.5}]}})");
  CHECK(plan.find("model.layers.0.self_attn.q_proj.weight").ok());
  const Status status = plan.find("lm_head.weight").status();
  CHECK(status.message() == "merging lm_head.weight by slerp: t is missing");
  const MergePlan without = plan_of(R"({"models": [{"model": "A"}, {"model": "B"}],
      "merge_method": "slerp", "parameters": {"t": 0.5}})");
  CHECK(without.find("x").status().message() == "merging x by slerp: needs a base model");
}
