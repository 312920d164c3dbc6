// Which tensor of a model is merged how: a recipe, looked up by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "tools/merge/recipe.h"

namespace mm2 {

/// What happens to one tensor.
struct PlannedMerge {
  bool copies = false;       // models[parents[0]] as it is stored
  MergeRule rule;            // if it does not copy
  std::vector<int> parents;  // places in MergePlan::models, as the rule's parents
  std::string dtype;         // as Recipe::dtype
  bool own_dtype = false;    // the tensor's own rule says it
};

class MergePlan {
 public:
  /// Of a model with this many layers. The base model, where it is not listed, becomes the last
  /// model.
  static MergePlan make(Recipe recipe, int32_t n_layers);

  const Recipe& recipe() const { return recipe_; }
  /// Paths of all models that take part.
  const std::vector<std::string>& models() const { return models_; }
  /// Place of the model that names, types and files are taken from: the base, else the first.
  int leader() const { return base_ < 0 ? 0 : base_; }

  /// t of single tensors, before whatever the recipe says: a schedule.
  void set_t(std::string tensor, double t) { t_[std::move(tensor)] = t; }
  bool has_t(std::string_view tensor) const { return t_.contains(as_piece(tensor)); }

  /// Errors name the tensor: a parameter without a value for it, and what check_merge_rule says.
  Result<PlannedMerge> find(std::string_view tensor) const;

  /// 0 for the embedding, 1 for what follows the layers, else layer / (n_layers - 1).
  double depth_of(std::string_view tensor) const;

 private:
  MergePlan() = default;
  const RecipeRule* rule_for(std::string_view tensor) const;
  Status set_parameters(const RecipeRule* own, std::string_view tensor, PlannedMerge& to) const;

  Recipe recipe_;
  std::vector<std::string> models_;
  int base_ = -1;
  bool unlisted_base_ = false;  // then it is the last model
  int32_t n_layers_ = 1;
  absl::flat_hash_map<std::string, double> t_;
};

}  // namespace mm2
