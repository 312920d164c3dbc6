// mm2 calibrate: what a model does with tokens of its use.
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
            "not all tokens count",
            true)
      .text("-o,--out", "out", "the .safetensors file to write; it must not exist", true)
      .texts("--collect", "collect", "reap, imatrix, act, kv, hessian")
      .integer("--max-length", "max_length", "cut samples to so many tokens")
      .integer("--max-tokens", "max_tokens", "stop reading after so many tokens")
      .text("--mem", "mem", "memory for the work, like 1.5G")
      .flag("--dry-run", "dry_run", "say how much memory and reading it takes, and do nothing")
      .done();
}

}  // namespace cli
