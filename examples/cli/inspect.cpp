// mm2 inspect, mm2 verify: what a checkpoint is, and whether it is whole.
#include "tool_verb.h"

namespace cli {

void add_inspect(Program& program) {
  ToolVerb(program, "inspect", "Architecture, tensor types, bytes per class of tensor, shards",
           "mm2 inspect examples/models/mm2-tiny")
      .model()
      .integer("--layer", "layer", "only this layer")
      .text("--tensor", "tensor", "only tensors whose names match this GLOB")
      .done();
}

void add_verify(Program& program) {
  ToolVerb(program, "verify", "Checks headers, offsets, the shard index, completeness and values",
           "mm2 verify examples/models/mm2-tiny --deep")
      .model()
      .flag("--deep", "deep", "read every value: NaN, infinity")
      .flag("--hash", "hash", "compare with the hashes of the manifest")
      .done();
}

}  // namespace cli
