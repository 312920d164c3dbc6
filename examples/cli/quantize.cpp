// mm2 quantize, convert, repack: the same weights in another layout.
#include "tool_verb.h"

namespace cli {
namespace {

// What quantize and convert have in common.
ToolVerb& choices(ToolVerb& verb) {
  return verb.text("--only", "only", "experts or attention: the others stay plain")
      .texts("--ignore", "ignore", "modules that stay plain, as GLOBs like model.layers.0.*")
      .flag("--errors", "errors", "measure every matrix: errors.json, classes in the report");
}

}  // namespace

void add_quantize(Program& program) {
  ToolVerb quantize(program, "quantize", "Matrices in 4 or 8 bits, in the layout of your engine",
                    "mm2 quantize MODEL --format gptq --algo opt-rtn -o OUT");
  quantize.model()
      .text("--format", "format",
            "gptq, gptq_v2, auto_round, awq, ct_packed, nvfp4, ct_nvfp4, ct_mxfp4, mxfp8, "
            "fp8_block, ...",
            true)
      .text("--algo", "algo", "rtn (the default), opt-rtn, gptq, awq")
      .text("--rule", "rule", "whose way of rounding; by default that of the layout's tool")
      .integer("--bits", "bits", "of integers; 4 by default")
      .integer("--group", "group", "columns that share a scale; 128 by default, 0: a row")
      .boolean("--sym", "sym", "zero in the middle; true but for awq")
      .text("--scale-dtype", "scale_dtype", "F32, BF16 or F16, where the layout leaves it open")
      .text("--arithmetic", "arithmetic", "f32, or bf16 as tools calculate with BF16 weights")
      .flag("--four-over-six", "four_over_six", "NVFP4: blocks may take 4 for their largest")
      .number("--damp", "damp", "gptq: of the mean of the Hessian's diagonal")
      .boolean("--act-group-aware", "act_group_aware",
               "gptq: columns by importance in groups that stay; true but with --act-order")
      .flag("--act-order", "act_order", "gptq: columns by importance, files have a map of groups")
      .number("--mse-norm", "mse_norm", "gptq: ranges are searched by errors to that power; 2.4")
      .text("--stats,--imatrix", "stats", "what calibrate wrote: Hessians, imatrix, amax");
  choices(quantize).writes().done();

  ToolVerb convert(program, "convert", "FP8 into BF16, F16 or F32 and back",
                   "mm2 convert MODEL --to bf16 -o OUT");
  convert.model()
      .text("--to", "to", "bf16, f16, f32, fp8 (128 x 128), fp8-ct, fp8-channel, fp8-tensor", true)
      .text("--scale", "scale", "of FP8: amax (the default), mse, ue8m0")
      .flag("--exact", "exact", "fail where a number would be rounded");
  choices(convert).writes().done();

  ToolVerb repack(program, "repack", "4-bit codes into another layout, every number as it was",
                  "mm2 repack MODEL --to awq -o OUT");
  repack.model()
      .text("--to", "to", "gptq, gptq_v2, auto_round, awq, ct_packed, nvfp4, ct_nvfp4", true)
      .text("--scale-dtype", "scale_dtype", "F32, BF16 or F16, where the layout leaves it open")
      .text("--v1-zeros", "v1_zeros",
            "GPTQ v1 words that can be read in two ways: refuse, words, "
            "fields")
      .flag("--may-round-scales", "may_round_scales", "where the layout has a narrower type")
      .flag("--positive-scales", "positive_scales", "refuse negative ones")
      .boolean("--sym", "sym", "what to write; as it was by default")
      .writes()
      .done();
}

}  // namespace cli
