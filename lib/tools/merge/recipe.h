// A merge recipe: mergekit's file, as JSON, and rules per tensor beside.
//
//   {"models": [{"model": "A"}, {"model": "B", "parameters": {"weight": 0.5}}],
//    "merge_method": "slerp", "base_model": "A", "dtype": "bfloat16",
//    "parameters": {"t": [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"value": 0.3}]},
//    "rules": [{"tensors": "*.gate.weight", "copy": "B"},
//              {"tensors": ["*norm*"], "merge_method": "linear", "parameters": {...}}]}
//
// A value is a number (or true/false); a list of numbers, read along the depth of the model; or a list
// of {filter, value}, of which the first counts whose filter is part of the tensor's name ("*" and none:
// always). Parameters of a model come before those of the rule, those before those of the recipe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tools/merge/method.h"

namespace mm2 {

/// A value that may depend on the tensor.
class Setting {
 public:
  /// `where` names it in messages.
  static Result<Setting> parse(const Json& json, const std::string& where);

  /// `depth`: 0 for the first layer, 1 for the last. Nothing if no filter takes the tensor.
  std::optional<double> at(std::string_view tensor, double depth) const;
  bool is_boolean() const { return boolean_; }

 private:
  struct Case {
    std::string filter;          // empty: always
    std::vector<double> values;  // one, or a gradient
  };
  std::vector<Case> cases_;
  bool boolean_ = false;
};

using Settings = std::map<std::string, Setting, std::less<>>;

struct RecipeModel {
  std::string path;
  Settings parameters;
};

struct RecipeRule {
  std::vector<std::string> tensors;  // globs; the first rule with one that matches counts
  std::optional<MergeMethod> method;
  std::optional<std::string> copy;  // of this model, as it is; nothing else is given then
  Settings parameters;
  std::string dtype;  // empty: the recipe's
};

struct Recipe {
  std::vector<RecipeModel> models;
  std::string base_model;  // may be none of the models
  MergeMethod method = MergeMethod::slerp;
  Settings parameters;
  std::vector<RecipeRule> rules;
  // "float32", "float16", "bfloat16", "fp8" (blocks of 128 x 128 with scales) or empty: as the base
  // stores the tensor.
  std::string dtype;
  std::string
      tokenizer_source;  // a model whose tokenizer and templates go along; empty: the base's
  uint64_t seed = 0;
};

/// Strict: every name that it does not know is refused with its place, as is a parameter that the
/// method does not have. `what` names the file in messages. mergekit's "slices" are read where there
/// is one that takes the same range of layers from each model; the range is not looked at.
Result<Recipe> parse_recipe(const Json& json, const std::string& what);

}  // namespace mm2
