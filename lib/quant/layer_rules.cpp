#include "quant/layer_rules.h"

#include <array>

namespace mm2 {
namespace {

// Names of the module that a configuration may use.
std::array<std::string, 3> names_of(const WeightPlace& place) {
  std::array<std::string, 3> names = {place.stem, place.name, {}};
  constexpr std::string_view kWeight = ".weight";
  if (place.name.ends_with(kWeight)) names[1].resize(place.name.size() - kWeight.size());
  if (place.expert >= 0) {
    const std::string_view last = place.role == Role::w1   ? "gate_proj"
                                  : place.role == Role::w3 ? "up_proj"
                                                           : "down_proj";
    names[2] = join("model.layers.", place.layer, ".mlp.experts.", place.expert, ".", last);
  }
  return names;
}

}  // namespace

void QuantWords::add(const QuantWords& other) {
  if (other.codes != Codes::unsaid) codes = other.codes;
  plain |= other.plain;
  if (other.bits != 0) bits = other.bits;
  if (other.group_size != 0) group_size = other.group_size;
  if (other.block_rows != 0) block_rows = other.block_rows;
  if (other.block_cols != 0) block_cols = other.block_cols;
  if (other.symmetric) symmetric = other.symmetric;
  if (other.desc_act) desc_act = other.desc_act;
}

void LayerRules::add_exact(std::string module, Rule rule) {
  exact_.emplace(std::move(module), rules_.size());
  rules_.push_back(std::move(rule));
}

void LayerRules::add_pattern(Pattern pattern, bool anywhere, Rule rule) {
  patterns_.push_back({std::move(pattern), anywhere, rules_.size()});
  rules_.push_back(std::move(rule));
}

void LayerRules::add_for_all(Rule rule) {
  if (for_all_ == SIZE_MAX) for_all_ = rules_.size();
  rules_.push_back(std::move(rule));
}

const LayerRules::Rule* LayerRules::find(const WeightPlace& place) const {
  if (rules_.empty()) return nullptr;
  const auto names = names_of(place);
  for (const std::string& name : names) {
    const auto found = exact_.find(name);
    if (found != exact_.end()) return &rules_[found->second];
  }
  for (const Matcher& m : patterns_) {
    for (const std::string& name : names) {
      if (name.empty()) continue;
      if (m.anywhere ? m.pattern.anywhere(name) : m.pattern.at_start(name)) return &rules_[m.rule];
    }
  }
  return for_all_ == SIZE_MAX ? nullptr : &rules_[for_all_];
}

}  // namespace mm2
