// mm2 logits: what the model says at every position, for comparison with other implementations.
#include <algorithm>
#include <cstdio>

#include "json_io.h"
#include "model_path.h"
#include "program.h"
#include "session.h"
#include "tensor_file.h"

namespace cli {
namespace {

constexpr int32_t kDefaultChunk = 512;

struct LogitsOptions {
  std::string model, ids, out;
  int32_t chunk = 0, last = 0;
  bool reference = false, json = false;
  EngineFlags engine;
};

ExitCode run_logits(LogitsOptions options) {
  const TokenIds ids = parse_ids(options.ids);
  const auto n = static_cast<int32_t>(ids.size());
  const int32_t n_last = options.last > 0 ? std::min(options.last, n) : n;
  const int32_t chunk = std::min(options.chunk > 0 ? options.chunk : kDefaultChunk, n);
  if (options.reference) options.engine.isa = MM2_ISA_REFERENCE_F64;

  const Model model = load_model(find_model(options.model), options.engine);
  mm2_engine_options engine_settings = engine_options(options.engine);
  if (engine_settings.kv_tokens == 0) engine_settings.kv_tokens = n;
  if (engine_settings.max_tokens_per_step == 0) engine_settings.max_tokens_per_step = chunk;
  engine_settings.max_outputs_per_step = std::min(chunk, n_last);
  const Engine engine = make_engine(model.get(), engine_settings);
  Sequence sequence(engine.get());
  sequence.require_room(ids.size(), "reading --ids");

  TensorFile file(options.out, "logits", n_last, sequence.info().n_vocab);
  for (int32_t begin = 0; begin < n; begin += chunk) {
    const int32_t end = std::min(begin + chunk, n);
    const int32_t n_outputs = std::max(0, end - std::max(begin, n - n_last));
    file.write(sequence.step({ids.data() + begin, static_cast<size_t>(end - begin)}, n_outputs));
  }
  file.publish();
  if (options.json) {
    print_json({{"out", options.out}, {"rows", n_last}, {"n_vocab", sequence.info().n_vocab}});
  }
  return kOk;
}

}  // namespace

void add_logits(Program& program) {
  const auto options = std::make_shared<LogitsOptions>();
  CLI::App* verb = program.add_verb(
      "logits", "Logits of all positions, as tensor `logits` F32 [n, vocab]",
      "mm2 logits examples/models/mm2-tiny --ids 72,101,121 --out logits.safetensors");
  add_model(verb, options->model);
  verb->add_option("--ids", options->ids, "token ids: 1,2,3")->required()->type_name("IDS");
  verb->add_option("--out", options->out, "safetensors file to write")
      ->required()
      ->type_name("FILE");
  verb->add_option("--chunk", options->chunk, "tokens per engine step")->check(CLI::PositiveNumber);
  verb->add_option("--last", options->last, "only the last N positions")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--reference", options->reference, "the FP64 path: exact and slow");
  verb->add_flag("--json", options->json, "say what was written as one JSON object");
  options->engine.add_to(verb);
  program.on_run(verb, [options] { return run_logits(*options); });
}

}  // namespace cli
