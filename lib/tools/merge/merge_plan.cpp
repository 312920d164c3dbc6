#include "tools/merge/merge_plan.h"

#include <algorithm>
#include <charconv>

#include "base/glob.h"

namespace mm2 {
namespace {

// The value for the tensor: the model's own, else the rule's, else the recipe's.
class Lookup {
 public:
  Lookup(std::string_view tensor, double depth, const Settings* rule, const Settings& recipe)
      : tensor_(tensor), depth_(depth), rule_(rule), recipe_(recipe) {}

  std::optional<double> find(std::string_view name, const Settings* model = nullptr) const {
    for (const Settings* settings : {model, rule_, &recipe_}) {
      if (settings == nullptr) continue;
      const auto found = settings->find(name);
      if (found == settings->end()) continue;
      if (const auto value = found->second.at(tensor_, depth_)) return value;
    }
    return std::nullopt;
  }
  void number(std::string_view name, double& to, const Settings* model = nullptr) const {
    if (const auto value = find(name, model)) to = *value;
  }
  void boolean(std::string_view name, bool& to) const {
    if (const auto value = find(name)) to = *value != 0;
  }
  void boolean(std::string_view name, std::optional<bool>& to) const {
    if (const auto value = find(name)) to = *value != 0;
  }

 private:
  std::string_view tensor_;
  double depth_;
  const Settings* rule_;
  const Settings& recipe_;
};

int place_of(const std::vector<std::string>& models, const std::string& path) {
  const auto found = std::find(models.begin(), models.end(), path);
  return found == models.end() ? -1 : static_cast<int>(found - models.begin());
}

}  // namespace

MergePlan MergePlan::make(Recipe recipe, int32_t n_layers) {
  MergePlan plan;
  for (const RecipeModel& model : recipe.models) plan.models_.push_back(model.path);
  if (!recipe.base_model.empty()) {
    plan.base_ = place_of(plan.models_, recipe.base_model);
    if (plan.base_ < 0) {
      plan.base_ = static_cast<int>(plan.models_.size());
      plan.unlisted_base_ = true;
      plan.models_.push_back(recipe.base_model);
      recipe.models.push_back({recipe.base_model, {}});
    }
  }
  plan.n_layers_ = n_layers;
  plan.recipe_ = std::move(recipe);
  return plan;
}

double MergePlan::depth_of(std::string_view tensor) const {
  constexpr std::string_view kLayers = "layers.";
  const size_t at = tensor.find(kLayers);
  int32_t layer = 0;
  if (at == std::string_view::npos ||
      std::from_chars(tensor.data() + at + kLayers.size(), tensor.data() + tensor.size(), layer)
              .ec != std::errc()) {
    return tensor.find("embed_tokens") != std::string_view::npos ? 0 : 1;
  }
  return n_layers_ < 2 ? 0 : std::clamp(layer / static_cast<double>(n_layers_ - 1), 0.0, 1.0);
}

const RecipeRule* MergePlan::rule_for(std::string_view tensor) const {
  for (const RecipeRule& rule : recipe_.rules) {
    for (const std::string& glob : rule.tensors) {
      if (matches_glob(tensor, glob)) return &rule;
    }
  }
  return nullptr;
}

Status MergePlan::set_parameters(const RecipeRule* own, std::string_view tensor,
                                 PlannedMerge& to) const {
  MergeRule& rule = to.rule;
  const Lookup lookup(tensor, depth_of(tensor), own == nullptr ? nullptr : &own->parameters,
                      recipe_.parameters);
  rule.t = lookup.find("t");
  if (const auto found = t_.find(as_piece(tensor)); found != t_.end()) rule.t = found->second;
  lookup.boolean("normalize", rule.normalize);
  lookup.boolean("rescale", rule.rescale);
  lookup.boolean("normalize_weights", rule.normalize_weights);
  lookup.boolean("nuslerp_flatten", rule.flatten);
  bool columns = false;
  lookup.boolean("nuslerp_row_wise", columns);  // mergekit's word for vectors along the first axis
  rule.along_rows = !columns;
  lookup.number("lambda", rule.lambda);
  lookup.number("scale", rule.scale);
  lookup.number("select_topk", rule.select_topk);
  lookup.number("tol", rule.tolerance);
  double iterations = rule.max_iterations;
  lookup.number("max_iter", iterations);
  if (!(iterations >= 1 && iterations <= 10'000))
    return error(Code::invalid_argument, "merging ", tensor, ": max_iter ", iterations,
                 " is not in 1..10000");
  rule.max_iterations = static_cast<int>(iterations);
  rule.seed = recipe_.seed;
  for (const int place : to.parents) {
    ParentParameters parent;
    const Settings* model = &recipe_.models[static_cast<size_t>(place)].parameters;
    parent.weight = lookup.find("weight", model);
    lookup.number("density", parent.density, model);
    lookup.number("gamma", parent.gamma, model);
    lookup.number("epsilon", parent.epsilon, model);
    rule.parents.push_back(parent);
  }
  return {};
}

Result<PlannedMerge> MergePlan::find(std::string_view tensor) const {
  const RecipeRule* own = rule_for(tensor);
  PlannedMerge planned;
  planned.own_dtype = own != nullptr && !own->dtype.empty();
  planned.dtype = own != nullptr && !own->dtype.empty() ? own->dtype : recipe_.dtype;
  if (own != nullptr && own->copy) {
    planned.copies = true;
    planned.parents = {place_of(models_, *own->copy)};
    return planned;
  }
  planned.rule.method = own != nullptr && own->method ? *own->method : recipe_.method;
  const bool has_base = base_ >= 0 && method_facts(planned.rule.method).may_have_base;
  for (int place = 0; place < static_cast<int>(models_.size()); ++place) {
    // A base that was not listed takes part only where the method wants one.
    if (place == base_ && !has_base && unlisted_base_) continue;
    if (place == base_ && has_base) planned.rule.base = static_cast<int>(planned.parents.size());
    planned.parents.push_back(place);
  }
  MM2_RETURN_IF_ERROR(set_parameters(own, tensor, planned));
  MM2_RETURN_IF_ERROR(check_merge_rule(planned.rule, tensor));
  return planned;
}

}  // namespace mm2
