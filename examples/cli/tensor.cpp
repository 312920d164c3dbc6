// mm2 tensor OP: one operation on some tensors of a file.
#include "tool_verb.h"

namespace cli {

void add_tensor(Program& program) {
  ToolVerb(program, "tensor", "One operation on some tensors of a file, for experiments",
           "mm2 tensor quantize --format gptq --params '{\"group\": 128}' --in F.safetensors "
           "--tensors w --out G.safetensors")
      .text("op", "op", "merge, quantize, dequantize, repack, match, reap", true)
      .text("--in", "in", "the .safetensors file to read", true)
      .texts("--tensors", "tensors", "names of tensors, in the order that the operation wants")
      .text("--format", "format", "the layout; the same as format in --params")
      .json("--params", "params", "what the operation wants to know")
      .text("--out", "out", "the .safetensors file to write", true)
      .done();
}

}  // namespace cli
