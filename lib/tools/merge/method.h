// The merge methods by name, and what one tensor's merge is told: the words of mergekit's recipes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2 {

enum class MergeMethod : uint8_t {
  passthrough,  // one parent, times `scale`
  linear,       // sum of weight * x, over the sum of the weights
  lerp,         // (1 - t) * first + t * second
  slerp,        // the same along the arc, one angle per tensor
  nuslerp,      // slerp by weights; per tensor, row or column; around a base if there is one
  multislerp,
  karcher,
  nearswap,
  task_arithmetic,  // base + lambda * sum of weight * (x - base)
  ties,
  dare_linear,
  dare_ties,
  della,
  della_linear,
  breadcrumbs,
  breadcrumbs_ties,
  sce,
  model_stock,
};
constexpr int kMergeMethods = static_cast<int>(MergeMethod::model_stock) + 1;

std::string_view merge_method_name(MergeMethod method);
std::optional<MergeMethod> merge_method_from_name(std::string_view name);

/// How intermediate numbers of the methods that work on differences are kept.
enum class MergeArithmetic : uint8_t {
  f32,
  // rounded to BF16 after every step, as mergekit does for BF16 parents; the differences of close
  // parents lose most of their bits
  bf16,
};

/// What belongs to one parent. The base's are not looked at by methods that have a base.
struct ParentParameters {
  std::optional<double> weight;
  double density = 1;     // share of the differences that stays
  double gamma = 0.01;    // breadcrumbs: share of the largest differences that goes
  double epsilon = 0.15;  // della: half the width of the keep probabilities
};

/// How one tensor is merged.
struct MergeRule {
  MergeMethod method = MergeMethod::slerp;
  std::vector<ParentParameters> parents;
  int base = -1;  // index of the base among the parents; -1: none
  MergeArithmetic arithmetic = MergeArithmetic::f32;
  std::optional<double> t;        // lerp and slerp: 0 is the base (lerp without one: the first)
  std::optional<bool> normalize;  // default: method_facts
  std::optional<bool> rescale;    // default: method_facts
  bool normalize_weights = true;  // multislerp
  double lambda = 1;
  double scale = 1;         // passthrough
  double select_topk = 1;   // sce
  int max_iterations = 10;  // karcher
  double tolerance = 1e-5;  // karcher
  bool flatten = true;      // nuslerp: one angle per tensor
  bool along_rows = true;   // nuslerp, not flat: vectors are rows; false: columns
  uint64_t seed = 0;        // dare and della
};

/// What a method needs and knows.
struct MethodFacts {
  int min_parents, max_parents;
  bool needs_base, may_have_base;
  bool needs_weight, needs_t;
  bool normalize, rescale;                       // defaults
  std::span<const std::string_view> parameters;  // names that a recipe may give
};
MethodFacts method_facts(MergeMethod method);

/// Refuses, naming `tensor`: wrong number of parents, a base that is missing or of no use, weight
/// or t missing, numbers that are not finite or out of range, della's density +- epsilon outside
/// [0, 1], weights of a normalised linear merge that add up to 0.
Status check_merge_rule(const MergeRule& rule, std::string_view tensor);

}  // namespace mm2
