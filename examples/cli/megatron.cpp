// mm2 to-megatron, from-megatron, roundtrip, shard-plan: a checkpoint over several devices.
#include "tool_verb.h"

namespace cli {
namespace {

ToolVerb& with_layout(ToolVerb& verb) {
  return verb.integer("--tp", "tp", "tensor parallel ranks: 1")
      .integer("--pp", "pp", "pipeline stages: 1")
      .integer("--ep", "ep", "expert parallel ranks: 1")
      .integer("--etp", "etp", "tensor parallel ranks inside an expert: 1")
      .integer("--vpp", "vpp", "model chunks of each stage: 1")
      .integer("--first-layers", "first_layers", "layers of the first stage")
      .integer("--last-layers", "last_layers", "layers of the last stage")
      .integer("--pad-vocab", "pad_vocab",
               "the vocabulary is padded to a multiple of this and tp: 128")
      .text("--names", "names", "slime (default) or bridge")
      .text("--format", "format", "torch (default) or safetensors");
}

}  // namespace

void add_megatron(Program& program) {
  ToolVerb to(program, "to-megatron", "Writes the files of Megatron's ranks; no number changes",
              "mm2 to-megatron MODEL --tp 2 --ep 4 -o OUT");
  with_layout(to.model()).writes().done();
  ToolVerb from(program, "from-megatron", "Makes one checkpoint of the files of Megatron's ranks",
                "mm2 from-megatron RANKS --config ORIGINAL --tp 2 --ep 4 -o OUT");
  with_layout(from.text("model", "model", "the folder that holds release/ or iter_NNNNNNN/", true)
                  .text("--config", "config",
                        "a checkpoint whose config.json and tokenizer are taken along"))
      .writes()
      .done();
  ToolVerb round(program, "roundtrip", "Proves that a chain of conversions gives back every byte",
                 "mm2 roundtrip MODEL --chain to-megatron,from-megatron --tp 8 --ep 8");
  with_layout(round.model().texts("--chain", "chain", "to-megatron,from-megatron")).done();
  ToolVerb(program, "shard-plan", "What each device would hold, and what engines would refuse",
           "mm2 shard-plan MODEL --tp 8 --ep 8")
      .model()
      .integer("--tp", "tp", "devices that share heads and vocabulary: 1")
      .integer("--ep", "ep", "1: experts are split inside; else the same as tp")
      .text("--eplb", "eplb", "a JSON file with the loads of all experts: places them")
      .integer("--redundant", "redundant", "further copies of busy experts in each layer")
      .integer("--nodes", "nodes", "nodes that the devices are in: 1")
      .integer("--groups", "groups", "groups of experts that stay on one node: 1")
      .done();
}

}  // namespace cli
