// mm2 kv-scales, mm2 synth: scales of an FP8 cache; checkpoints of random weights.
#include "tool_verb.h"

namespace cli {

void add_kv_scales(Program& program) {
  ToolVerb(program, "kv-scales",
           "Lists the scales of an FP8 cache, or writes a checkpoint with others",
           "mm2 kv-scales MODEL --import OTHER --strip-bias -o OUT")
      .model()
      .text("--import", "import", "the checkpoint whose scales to take")
      .text("--stats", "stats", "what calibrate --collect kv wrote: scales from largest sizes")
      .number("--min", "min", "raise scales to at least this")
      .flag("--strip", "strip", "leave all scales out")
      .flag("--strip-bias", "strip_bias", "leave k_bias and v_bias out")
      .writes(false)
      .done();
  ToolVerb(program, "synth", "A checkpoint of the true shapes with random weights",
           "mm2 synth --layers 2 -o OUT")
      .text("--shape", "shape", "m2 (256 experts, the default) or m2-reap (192)")
      .text("--to", "to", "fp8 (the default) or bf16")
      .integer("--layers", "layers", "how many; 2 by default")
      .integer("--experts", "experts", "of a layer, instead of those of the shape")
      .integer("--seed", "seed", "another seed gives other weights")
      .writes()
      .done();
}

}  // namespace cli
