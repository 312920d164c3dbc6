// What a configuration says about some matrices only: config_groups of compressed-tensors and
// ModelOpt, extra_config of AutoRound, dynamic of GPTQModel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "quant/pattern.h"
#include "tensor/role.h"

namespace mm2 {

/// What is said about a matrix, as far as it is.
struct QuantWords {
  enum class Codes : uint8_t { unsaid, integer, floating };
  Codes codes = Codes::unsaid;
  bool plain = false;      // that it is not quantised
  int32_t bits = 0;        // 0: not said
  int32_t group_size = 0;  // 0: not said; -1: a whole row
  int32_t block_rows = 0;  // 0: not said
  int32_t block_cols = 0;
  std::optional<bool> symmetric;
  std::optional<bool> desc_act;  // a map says which column is of which group

  /// Takes over what `other` says.
  void add(const QuantWords& other);
};

/// Words for the matrices of some modules. A module is known by the name under which it is stored,
/// by its official name and by the one it has in transformers 5.
class LayerRules {
 public:
  struct Rule {
    std::string said_by;  // "extra_config: \"lm_head\"", for messages
    QuantWords words;
  };

  void add_exact(std::string module, Rule rule);
  /// For names a beginning of which matches, or any part.
  void add_pattern(Pattern pattern, bool anywhere, Rule rule);
  void add_for_all(Rule rule);

  /// The rule for a matrix or null: an exact name comes before patterns, those in the order in
  /// which they were added, and what holds for all is last.
  const Rule* find(const WeightPlace& place) const;
  bool empty() const { return rules_.empty(); }
  size_t size() const { return rules_.size(); }
  const Rule& rule(size_t i) const { return rules_[i]; }

 private:
  struct Matcher {
    Pattern pattern;
    bool anywhere;
    size_t rule;
  };
  std::vector<Rule> rules_;
  absl::flat_hash_map<std::string, size_t> exact_;
  std::vector<Matcher> patterns_;
  size_t for_all_ = SIZE_MAX;
};

}  // namespace mm2
