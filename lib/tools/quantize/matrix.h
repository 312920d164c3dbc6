// One matrix from numbers to stored tensors, some rows at a time: what verbs and operations call.
//
//   PackSpec spec = *recipe_spec(recipe, n_rows, n_cols);
//   auto parts = *plan_parts(spec);              // before anything is read
//   quantize_matrix(recipe, spec, parts, read_rows, {}, memory, &figures)
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "tools/quantize/error.h"
#include "tools/quantize/gptq.h"
#include "tools/quantize/pack.h"
#include "tools/quantize/quantize.h"

namespace mm2 {

/// A layout and the rule for its codes.
struct QuantRecipe {
  const Dialect* dialect = nullptr;
  std::variant<IntOptions, Fp8Options, Nvfp4Options, MxOptions> rule;
  // instead of rounding to nearest; bits, symmetric and group are those of `rule`, which is for integers
  std::optional<GptqOptions> gptq;
  bool ordered = false;            // the Hessian's columns are, and groups follow them
  Dtype scale_dtype = Dtype::f32;  // where the layout leaves it open
};

/// How the matrix will lie. Code::invalid_argument where rule and layout do not belong together,
/// Code::unsupported as plan_parts.
Result<PackSpec> recipe_spec(const QuantRecipe& recipe, int64_t n_rows, int64_t n_cols);

/// Reads rows [first_row, first_row + n_rows) of the weights as F32 into `to`.
using RowReader = std::function<Status(int64_t first_row, int64_t n_rows, float* to)>;

/// What a matrix shares with others, or brings from calibration.
struct QuantContext {
  // the largest size of all matrices that share a global scale (NVFP4); none: of this one, which is
  // then read twice
  std::optional<float> shared_largest = {};
  const float* imatrix = nullptr;          // [n_cols], for auto_round_opt
  const HessianFactor* hessian = nullptr;  // for GPTQ
};

struct QuantFigures {
  ErrorStats error;  // against the weights, block by block of one scale
  CodeCounts codes;
};

/// Fills the tensors that plan_parts lists, `memory[i]` all of parts[i]. `figures` may be null; gathering
/// them takes as long as rounding. Takes memory for a few rows; of layouts with one scale, for all.
Status quantize_matrix(const QuantRecipe& recipe, const PackSpec& spec,
                       std::span<const PlannedPart> parts, const RowReader& read,
                       const QuantContext& context, std::span<std::byte* const> memory,
                       QuantFigures* figures);

}  // namespace mm2
