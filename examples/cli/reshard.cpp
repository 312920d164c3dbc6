// mm2 reshard, manifest, resume: shards of another size, digests, unfinished work.
#include "tool_verb.h"

namespace cli {

void add_reshard(Program& program) {
  ToolVerb(program, "reshard", "The same checkpoint in shards of another size",
           "mm2 reshard MODEL --max-shard 2G -o OUT")
      .model()
      .writes()
      .done();
  ToolVerb(program, "manifest", "Writes manifest.json: a digest of every tensor",
           "mm2 manifest MODEL")
      .model()
      .text("--hash", "hash", "xxh3 (default) or sha256")
      .text("--manifest", "manifest", "the file to write instead of MODEL/manifest.json")
      .done();
  ToolVerb(program, "resume", "Continues what was stopped or killed while writing OUT",
           "mm2 resume OUT")
      .text("out", "out", "the folder that was being written", true)
      .text("--mem", "mem", "memory for the work, like 1.5G")
      .done();
}

}  // namespace cli
