// mm2 forensics: how far two checkpoints are apart.
#include "tool_verb.h"

namespace cli {

void add_forensics(Program& program) {
  ToolVerb(program, "forensics",
           "Compares two checkpoints tensor by tensor and suggests how much of B each should get",
           "mm2 forensics A B --out scan.json --svg t.svg")
      .model("a")
      .model("b")
      .text("--out", "out", "write the table, one tensor a line, to this JSON file")
      .text("--svg", "svg", "write the histogram of t to this file")
      .text("--normalizer", "normalizer",
            "what delta is divided by: percentile (default), max, mad, noise-floor, per-class")
      .number("--percentile", "percentile", "which percentile (default 99)")
      .number("--low", "low", "t of a tensor that did not change (default 0.5)")
      .number("--span", "span", "added to it for one that changed most (default 0.35)")
      .integer("--top", "top", "how many outliers to list (default 50)")
      .integer("--bins", "bins", "bars of the histogram (default 35)")
      .flag("--match-experts", "match_experts",
            "pair experts by the rows of their routers: for models that were renumbered or pruned")
      .done();
}

}  // namespace cli
