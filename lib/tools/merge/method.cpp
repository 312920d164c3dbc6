#include "tools/merge/method.h"

#include <cmath>

namespace mm2 {
namespace {

using Names = std::span<const std::string_view>;
constexpr int kAny = 64;  // parents

constexpr std::string_view kNames[] = {
    "passthrough",      "linear",    "lerp",       "slerp",           "nuslerp",
    "multislerp",       "karcher",   "nearswap",   "task_arithmetic", "ties",
    "dare_linear",      "dare_ties", "della",      "della_linear",    "breadcrumbs",
    "breadcrumbs_ties", "sce",       "model_stock"};
static_assert(std::size(kNames) == kMergeMethods);

constexpr std::string_view kPassthrough[] = {"scale"};
constexpr std::string_view kLinear[] = {"weight", "normalize"};
constexpr std::string_view kT[] = {"t"};
constexpr std::string_view kNuslerp[] = {"weight", "nuslerp_flatten", "nuslerp_row_wise"};
constexpr std::string_view kMultislerp[] = {"weight", "normalize_weights"};
constexpr std::string_view kKarcher[] = {"max_iter", "tol"};
constexpr std::string_view kDelta[] = {"weight", "normalize", "lambda", "int8_mask"};
constexpr std::string_view kSparse[] = {"weight", "density",   "normalize",
                                        "lambda", "int8_mask", "rescale"};
constexpr std::string_view kDella[] = {"weight", "density",   "epsilon", "normalize",
                                       "lambda", "int8_mask", "rescale"};
constexpr std::string_view kBreadcrumbs[] = {"weight", "density",   "gamma",  "normalize",
                                             "lambda", "int8_mask", "rescale"};
constexpr std::string_view kSce[] = {"select_topk", "int8_mask"};

Status refuse(std::string_view tensor, const MergeRule& rule, const std::string& why) {
  return error(Code::invalid_argument, "merging ", tensor, " by ", merge_method_name(rule.method),
               ": ", why);
}

bool within(double value, double low, double high) {
  return std::isfinite(value) && value >= low && value <= high;
}

// Numbers that belong to one parent.
Status check_parent(const MergeRule& rule, size_t i, const MethodFacts& facts,
                    std::string_view tensor) {
  const ParentParameters& parent = rule.parents[i];
  if (facts.needs_weight && !parent.weight)
    return refuse(tensor, rule, join("parent ", i, " has no weight"));
  if (parent.weight && !std::isfinite(*parent.weight))
    return refuse(tensor, rule, join("the weight of parent ", i, " is not a finite number"));
  if (!within(parent.density, 0, 1))
    return refuse(tensor, rule,
                  join("density ", parent.density, " of parent ", i, " is not in 0..1"));
  if (!within(parent.gamma, 0, 1))
    return refuse(tensor, rule, join("gamma ", parent.gamma, " of parent ", i, " is not in 0..1"));
  const bool della = rule.method == MergeMethod::della || rule.method == MergeMethod::della_linear;
  if (della && parent.density < 1 &&
      (!within(parent.epsilon, 0, 1) || parent.density - parent.epsilon <= 0 ||
       parent.density + parent.epsilon >= 1)) {
    return refuse(tensor, rule,
                  join("density ", parent.density, " -+ epsilon ", parent.epsilon, " of parent ", i,
                       " is not between 0 and 1"));
  }
  return {};
}

Status check_numbers(const MergeRule& rule, const MethodFacts& facts, std::string_view tensor) {
  if (facts.needs_t && !rule.t) return refuse(tensor, rule, "t is missing");
  const bool arc = rule.method == MergeMethod::lerp || rule.method == MergeMethod::slerp;
  if (rule.t && arc && !within(*rule.t, 0, 1))
    return refuse(tensor, rule, join("t ", *rule.t, " is not in 0..1"));
  if (rule.t && !(std::isfinite(*rule.t) && *rule.t >= 0))
    return refuse(tensor, rule, join("t ", *rule.t, " is not a finite number of at least 0"));
  if (!std::isfinite(rule.lambda) || !std::isfinite(rule.scale))
    return refuse(tensor, rule, "lambda and scale must be finite numbers");
  if (!within(rule.select_topk, 0, 1))
    return refuse(tensor, rule, join("select_topk ", rule.select_topk, " is not in 0..1"));
  if (rule.max_iterations < 1 || rule.max_iterations > 10'000)
    return refuse(tensor, rule, join("max_iter ", rule.max_iterations, " is not in 1..10000"));
  if (!(std::isfinite(rule.tolerance) && rule.tolerance >= 0))
    return refuse(tensor, rule, "tol must be a finite number of at least 0");
  return {};
}

}  // namespace

std::string_view merge_method_name(MergeMethod method) {
  return kNames[static_cast<int>(method)];
}

std::optional<MergeMethod> merge_method_from_name(std::string_view name) {
  for (int i = 0; i < kMergeMethods; ++i) {
    if (kNames[i] == name) return static_cast<MergeMethod>(i);
  }
  return std::nullopt;
}

MethodFacts method_facts(MergeMethod method) {
  switch (method) {
    case MergeMethod::passthrough:
      return {1, 1, false, false, false, false, false, false, kPassthrough};
    case MergeMethod::linear:
      return {1, kAny, false, false, true, false, true, false, kLinear};
    case MergeMethod::lerp:
      return {2, 2, false, true, false, true, false, false, kT};
    case MergeMethod::slerp:
      return {2, 2, true, true, false, true, false, false, kT};
    case MergeMethod::nuslerp:
      return {2, 3, false, true, true, false, false, false, kNuslerp};
    case MergeMethod::multislerp:
      return {2, kAny, false, true, true, false, false, false, kMultislerp};
    case MergeMethod::karcher:
      return {2, kAny, false, false, false, false, false, false, kKarcher};
    case MergeMethod::nearswap:
      return {2, 2, true, true, false, true, false, false, kT};
    case MergeMethod::task_arithmetic:
      return {2, kAny, true, true, true, false, false, false, kDelta};
    case MergeMethod::ties:
      return {2, kAny, true, true, true, false, true, false, kSparse};
    case MergeMethod::dare_linear:
    case MergeMethod::dare_ties:
      return {2, kAny, true, true, true, false, false, true, kSparse};
    case MergeMethod::della:
      return {2, kAny, true, true, true, false, true, true, kDella};
    case MergeMethod::della_linear:
      return {2, kAny, true, true, true, false, false, true, kDella};
    case MergeMethod::breadcrumbs:
    case MergeMethod::breadcrumbs_ties:
      return {2, kAny, true, true, true, false, false, false, kBreadcrumbs};
    case MergeMethod::sce:
      return {2, kAny, true, true, false, false, false, false, kSce};
    case MergeMethod::model_stock:
      return {3, kAny, true, true, false, false, false, false, {}};
  }
  return {};
}

Status check_merge_rule(const MergeRule& rule, std::string_view tensor) {
  const MethodFacts facts = method_facts(rule.method);
  const int n = static_cast<int>(rule.parents.size());
  if (n < facts.min_parents || n > facts.max_parents) {
    const std::string wanted =
        facts.min_parents == facts.max_parents ? join("exactly ", facts.min_parents)
        : facts.max_parents == kAny            ? join("at least ", facts.min_parents)
                                               : join(facts.min_parents, " to ", facts.max_parents);
    return refuse(tensor, rule, join("takes ", wanted, " parents, there are ", n));
  }
  if (rule.base >= n) return refuse(tensor, rule, join("base ", rule.base, " of ", n, " parents"));
  if (facts.needs_base && rule.base < 0) return refuse(tensor, rule, "needs a base model");
  if (rule.base >= 0 && !facts.may_have_base)
    return refuse(tensor, rule, "has no use for a base model");
  if (rule.method == MergeMethod::nuslerp && n - (rule.base >= 0 ? 1 : 0) != 2) {
    return refuse(
        tensor, rule,
        join("takes 2 parents besides the base, there are ", n - (rule.base >= 0 ? 1 : 0)));
  }
  MM2_RETURN_IF_ERROR(check_numbers(rule, facts, tensor));
  double sum = 0, magnitude = 0;
  for (size_t i = 0; i < rule.parents.size(); ++i) {
    if (static_cast<int>(i) == rule.base) continue;
    MM2_RETURN_IF_ERROR(check_parent(rule, i, facts, tensor));
    sum += rule.parents[i].weight.value_or(0);
    magnitude += std::abs(rule.parents[i].weight.value_or(0));
  }
  const bool divides =
      (rule.method == MergeMethod::linear && rule.normalize.value_or(facts.normalize)) ||
      (rule.method == MergeMethod::multislerp && rule.normalize_weights);
  // Weights that cancel but for their rounding are as little to divide by as an exact 0.
  if (divides && std::abs(sum) <= 1e-12 * magnitude)
    return refuse(tensor, rule, "the weights add up to 0, which they are divided by");
  return {};
}

}  // namespace mm2
