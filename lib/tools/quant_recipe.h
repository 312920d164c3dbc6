// What a user says about quantization, as JSON, into what the quantizers take. The verb `quantize` and
// `tensor quantize` read the same names:
//
//   format      a layout of tools/quantize/pack.h: gptq, auto_round, awq, ct_packed, nvfp4, ct_nvfp4,
//               ct_mxfp4, mxfp8, fp8_block, fp8_block_ct, fp8_row, fp8_matrix ...
//   algo        rtn (the default), opt-rtn, gptq, awq (rtn after scaling: tools/awq_folding.h)
//   rule        whose way of rounding; the default is that of the tool that the layout is of:
//               auto_round, auto_round_gptq, compressed_tensors, gptqmodel for integers;
//               amax, mse, ue8m0, deepgemm, slime, compressed_tensors, modelopt for FP8;
//               modelopt, compressed_tensors for NVFP4, these and auto_round, auto_round_opt for MX;
//               gptqmodel, llm_compressor with algo gptq
//   bits, group (0: a whole row), sym          integers; sym is true but for awq
//   scale_dtype                                "F32", "BF16", "F16" where the layout leaves it open
//   arithmetic                                 "f32"; "bf16": as tools calculate with BF16 weights
//   four_over_six                              NVFP4
//   damp, damp_increment, mse_norm             algo gptq
//   act_group_aware                            algo gptq: true but with act_order. Columns by importance,
//                                              in groups that stay where they are
//   act_order                                  algo gptq: columns by importance, and groups of that order
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "tools/quantize/matrix.h"

namespace mm2 {

/// All names above.
std::span<const std::string_view> quant_recipe_names();

struct RecipeChoice {
  QuantRecipe recipe;
  HessianOptions hessian;
  bool awq = false;
};

/// Other names in `options` are not looked at. Code::invalid_argument as OptionReader has it.
Result<RecipeChoice> read_quant_recipe(std::string_view verb, const Json& options);

}  // namespace mm2
