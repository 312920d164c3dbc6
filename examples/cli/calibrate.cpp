// mm2 calibrate, mm2 prune: what a model does with tokens of its use, and a model without the experts that
// do least.
#include "tool_verb.h"

namespace cli {

void add_calibrate(Program& program) {
  ToolVerb(program, "calibrate",
           "Runs tokens through the model layer by layer from disk and counts what pruning and "
           "quantizing want to know",
           "mm2 tokenize MODEL --jsonl < texts.jsonl > tokens.jsonl && "
           "mm2 calibrate MODEL tokens.jsonl -o stats.safetensors")
      .model()
      .text("tokens", "tokens",
            "JSON lines {\"ids\": [..]}, with \"counted\" or \"count_from\" where "
            "not all tokens count")
      .text("--tokens-bin", "tokens_bin",
            "instead: 32-bit little-endian ids, cut into samples of --max-length (2048)")
      .text("-o,--out", "out", "the .safetensors file to write; it must not exist", true)
      .texts("--collect", "collect", "reap, imatrix, act, kv, hessian")
      .integer("--max-length", "max_length", "cut samples to so many tokens")
      .integer("--max-tokens", "max_tokens", "stop reading after so many tokens")
      .text("--mem", "mem", "memory for the work, like 1.5G")
      .flag("--dry-run", "dry_run", "say how much memory and reading it takes, and do nothing")
      .done();
  ToolVerb(program, "prune", "A checkpoint without the experts that matter least",
           "mm2 prune MODEL --stats stats.safetensors --ratio 0.25 -o OUT")
      .model()
      .text("--stats", "stats", "what calibrate wrote", true)
      .text("--method", "method",
            "reap (the default), frequency, ean_sum, ean_mean, weighted_ean_sum, reap_l2, random, "
            "...")
      .number("--ratio", "ratio", "share of experts to remove")
      .integer("--keep", "keep", "experts to keep, instead of a ratio")
      .boolean("--protect-super", "protect_super", "keep experts of extreme activations; true")
      .flag("--all-layers", "all_layers", "look for those in the last quarter of the layers too")
      .integer("--seed", "seed", "of method random")
      .text("--mask-out", "mask_out", "write the choice as deleted_experts.json")
      .flag("--strip-kv-bias", "strip_kv_bias", "leave k_bias and v_bias out")
      .writes(false)
      .done();
}

}  // namespace cli
