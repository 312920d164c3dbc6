// mm2 inspect, mm2 verify: what a checkpoint is, and whether it is whole.
#include "model_path.h"
#include "program.h"
#include "tool_report.h"

namespace cli {
namespace {

struct CheckpointOptions {
  std::string model;
  bool json = false, strict = false;
  int32_t threads = 0;
  ProgressStyle progress = ProgressStyle::automatic;
  std::optional<int32_t> layer;     // inspect
  std::string tensor;               // inspect
  bool deep = false, hash = false;  // verify

  void add_to(CLI::App* verb) {
    verb->add_option("model", model, "checkpoint folder, .safetensors file or config.json")
        ->required()
        ->type_name("MODEL");
    verb->add_flag("--json", json, "one JSON object");
    verb->add_flag("--strict", strict, "remarks count as failures");
    verb->add_option("--threads", threads, "worker threads")->check(CLI::Range(1, 4096));
    add_progress(verb, progress);
  }

  /// Only what was said: the library refuses what a verb does not know.
  Json to_json() const {
    Json options = {{"model", find_model(model)}};
    if (strict) options["strict"] = true;
    if (threads > 0) options["threads"] = threads;
    if (layer) options["layer"] = *layer;
    if (!tensor.empty()) options["tensor"] = tensor;
    if (deep) options["deep"] = true;
    if (hash) options["hash"] = true;
    return options;
  }
};

void add_checkpoint_verb(Program& program, const std::string& name, CLI::App* verb,
                         const std::shared_ptr<CheckpointOptions>& options) {
  options->add_to(verb);
  program.on_run(verb, [name, options] {
    return run_tool(name, options->to_json(), options->json, options->progress);
  });
}

}  // namespace

void add_inspect(Program& program) {
  const auto options = std::make_shared<CheckpointOptions>();
  CLI::App* verb =
      program.add_verb("inspect", "Architecture, tensor types, bytes per class of tensor, shards",
                       "mm2 inspect examples/models/mm2-tiny");
  verb->add_option("--layer", options->layer, "only this layer")->check(CLI::NonNegativeNumber);
  verb->add_option("--tensor", options->tensor, "only tensors whose names match")
      ->type_name("GLOB");
  add_checkpoint_verb(program, "inspect", verb, options);
}

void add_verify(Program& program) {
  const auto options = std::make_shared<CheckpointOptions>();
  CLI::App* verb = program.add_verb(
      "verify", "Checks headers, offsets, the shard index, completeness and values",
      "mm2 verify examples/models/mm2-tiny --deep");
  verb->add_flag("--deep", options->deep, "read every value: NaN, infinity");
  verb->add_flag("--hash", options->hash, "compare with the hashes of the manifest");
  add_checkpoint_verb(program, "verify", verb, options);
}

}  // namespace cli
