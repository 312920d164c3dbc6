// GPTQ: columns are rounded one after the other, and what rounding one changed in the output is made up
// for by those that follow, as the Hessian of the inputs says. Calculated in F64.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tools/quantize/quantize.h"

namespace mm2 {

/// Whose GPTQ.
enum class GptqRule : uint8_t {
  // scales of a group from the weights as they are when it begins, as of the last whole block
  gptqmodel,
  // scales beforehand, as compressed-tensors has them without GPTQ
  llm_compressor,
};

/// Which columns are rounded first: those behind make up for them.
enum class ColumnOrder : uint8_t {
  natural,
  columns,  // by their diagonal, the largest first
  // groups by their largest diagonal, columns of a group by theirs: files need no map of groups
  // (act_group_aware of GPTQModel)
  groups,
};

struct HessianOptions {
  GptqRule rule = GptqRule::gptqmodel;
  double damp = 0.01;  // of the mean of the diagonal, added to it
  double damp_increment =
      0.01;  // tried in such steps up to 1 where that is too little; 0: not tried
  ColumnOrder order = ColumnOrder::natural;
  int64_t group = 0;  // columns of a group, for ColumnOrder::groups; 0: all
};

/// What rounding needs of a Hessian; one serves all matrices with the same inputs.
struct HessianFactor {
  int64_t n_cols = 0;
  std::vector<double>
      upper;  // [n_cols, n_cols]: U with inverse(H) = U' U, in the order of rounding
  std::vector<int32_t> order;  // [n_cols] column that comes at this place
  std::vector<uint8_t> dead;   // [n_cols] inputs that were never anything but 0, by column
  double damp = 0;             // that was enough
};

/// `hessian` [n_cols, n_cols]: sums of products of inputs over tokens, in any scale; symmetric. Code::
/// numeric where it is not finite, has a negative diagonal, or no damping makes it definite.
Result<HessianFactor> factor_hessian(std::span<const float> hessian, int64_t n_cols,
                                     const HessianOptions& options);

struct GptqOptions {
  GptqRule rule = GptqRule::gptqmodel;
  int bits = 4;
  bool symmetric = true;
  int64_t group = 128;  // 0: a whole row
  int64_t block = 128;  // columns whose corrections are gathered before those behind get them
  double mse_norm =
      0;  // above 0: 80 ranges are tried, the one with the least error of that power wins
};

/// Outputs as quantize_integers has them, scales in F32. With ColumnOrder::columns and gptqmodel, groups
/// are those of the order: gptq_group_map. Rows are independent of each other.
Status quantize_gptq(const WeightRows& rows, const HessianFactor& factor,
                     const GptqOptions& options, uint8_t* codes, float* scales, uint8_t* zeros);

/// The group of each column, by column; empty where it is column / group.
std::vector<int32_t> gptq_group_map(const HessianFactor& factor, const GptqOptions& options);

}  // namespace mm2
