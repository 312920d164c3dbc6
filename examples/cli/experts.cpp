// mm2 match-experts, delete-experts: which experts a model was left with, and leaving out the others.
#include "tool_verb.h"

namespace cli {

void add_experts(Program& program) {
  ToolVerb(program, "match-experts", "Finds which experts of a model a pruned one has kept",
           "mm2 match-experts ORIGINAL PRUNED --save-deleted-experts deleted_experts.json")
      .model()
      .model("reference")
      .text("--save-deleted-experts", "save_deleted_experts", "the mask file to write")
      .text("--details", "details", "a file to write with every pair, its costs and margins")
      .number("--min-margin", "min_margin", "least margin of a pair that is no exact copy: 0.02")
      .number("--max-cost", "max_cost", "largest cosine distance of a pair: 0.3")
      .flag("--weights", "weights", "confirm pairs by the experts' own weights: 128 rows of each")
      .done();
  ToolVerb(program, "delete-experts", "Leaves experts out of every layer, by a mask or a reference",
           "mm2 delete-experts MODEL OUT --num-original-experts 256 --num-retained-experts 192 "
           "--deleted-experts-file deleted_experts.json")
      .model()
      .text("out", "out", "the folder to write; it must not exist", true)
      .integer("--num-original-experts", "num_original_experts", "experts of the model")
      .integer("--num-retained-experts", "num_retained_experts", "experts that stay")
      .text("--compare-with", "compare_with", "a pruned model: its experts stay")
      .text("--save-deleted-experts", "save_deleted_experts", "with --compare-with: the mask file")
      .text("--deleted-experts-file", "deleted_experts_file", "a mask: which experts go")
      .flag("--strip-kv-bias", "strip_kv_bias", "leave k_bias and v_bias out (the default)")
      .number("--min-margin", "min_margin", "least margin of a pair that is no exact copy: 0.02")
      .number("--max-cost", "max_cost", "largest cosine distance of a pair: 0.3")
      .text("--mem", "mem", "memory for the work, like 1.5G")
      .text("--max-shard", "max_shard", "bytes of a shard, like 5G")
      .flag("--dry-run", "dry_run", "say what would be written, and write nothing")
      .done();
}

}  // namespace cli
