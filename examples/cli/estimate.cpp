// mm2 estimate: the memory that a model would take, before any of its weights is read.
#include <cstdio>

#include "json_io.h"
#include "model_path.h"
#include "program.h"
#include "progress.h"
#include "session.h"

namespace cli {
namespace {

struct EstimateOptions {
  std::string model;
  int32_t tp = 1, ep = 1;
  bool json = false;
  EngineFlags engine;
};

Json parts(uint64_t weights, uint64_t kv, uint64_t buffers, uint64_t load_peak) {
  return {{"weights", weights},
          {"kv", kv},
          {"buffers", buffers},
          {"total", weights + kv + buffers},
          {"load_peak", load_peak}};
}

void print_parts(const char* place, const Json& parts) {
  std::printf("%s\n", place);
  for (const auto& [name, bytes] : parts.items()) {
    std::printf("  %-10s %14llu bytes  %s\n", name.c_str(), bytes.get<unsigned long long>(),
                human_bytes(bytes.get<double>()).c_str());
  }
}

ExitCode run_estimate(const EstimateOptions& options) {
  if (options.tp != 1 || options.ep != 1) {
    throw Failure(kInvalidInput, "reading --tp and --ep",
                  "this version runs one rank; 1 is the only value that it estimates");
  }
  const Model model = load_model(find_model(options.model), options.engine, true);
  mm2_engine_options settings = engine_options(options.engine);
  settings.max_seqs = options.engine.max_seqs;
  auto memory = sized<mm2_memory>();
  call("estimating memory", mm2_engine_estimate, model.get(), &settings, &memory);
  const Json result = {{"host", parts(memory.host_weights, memory.host_kv, memory.host_buffers,
                                      memory.load_peak_host)},
                       {"device", parts(memory.device_weights, memory.device_kv,
                                        memory.device_buffers, memory.load_peak_device)}};
  if (options.json) {
    print_json(result);
  } else {
    print_parts("host", result["host"]);
    print_parts("device", result["device"]);
  }
  return kOk;
}

}  // namespace

void add_estimate(Program& program) {
  const auto options = std::make_shared<EstimateOptions>();
  CLI::App* verb =
      program.add_verb("estimate", "Host and device bytes per part, without loading the weights",
                       "mm2 estimate examples/models/mm2-tiny --max-seqs 4 --kv-tokens 16384");
  add_model(verb, options->model);
  verb->add_option("--tp", options->tp, "ranks that split each matrix")->check(CLI::PositiveNumber);
  verb->add_option("--ep", options->ep, "ranks that split the experts")->check(CLI::PositiveNumber);
  verb->add_flag("--json", options->json, "one JSON object");
  options->engine.add_to(verb);
  program.on_run(verb, [options] { return run_estimate(*options); });
}

}  // namespace cli
