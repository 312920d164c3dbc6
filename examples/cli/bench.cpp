// mm2 bench: how fast a model runs here, as a share of what this machine can do at most.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "interrupt.h"
#include "json_io.h"
#include "model_path.h"
#include "probe.h"
#include "program.h"
#include "session.h"
#include "synthetic.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kStepsPerBlock = 16;  // decode steps between two probes
constexpr int32_t kM2Layers = 62;

struct BenchOptions {
  std::string model, synthetic, quant, prompts = "64,512";
  int32_t layers = 0, vocab = 0, batch = 1, depth = 128, repetitions = 5;
  bool json = false;
  EngineFlags engine;
};

/// Cumulative figures of the engine.
struct Counters {
  double steps, bytes, flops, experts_touched, expert_layers;
};

Counters read_counters(const mm2_engine* engine) {
  Buffer buffer;
  call("reading the engine's statistics", mm2_engine_get_stats, engine, buffer.get());
  const Json stats = parse_json(buffer.text(), "reading the engine's statistics");
  const auto number = [&stats](const char* name) { return stats.value(name, 0.0); };
  return {number("steps"), number("weight_bytes_read") + number("kv_bytes_read"), number("flops"),
          number("experts_touched"), number("expert_layers")};
}

/// Ids that look like no text, so that every expert has its turn; the same in every run.
TokenIds some_ids(size_t n, int32_t n_tokens, uint64_t seed) {
  TokenIds ids;
  uint64_t state = seed * 2 + 1;
  for (size_t i = 0; i < n; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(n_tokens)));
  }
  return ids;
}

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

class Bench {
 public:
  Bench(const BenchOptions& options, mm2_engine* engine, int32_t n_vocab)
      : options_(options),
        engine_(engine),
        info_(engine_info(engine)),
        n_vocab_(n_vocab),
        probe_(info_.n_threads, info_.activations == MM2_ACTIVATIONS_INT8),
        logits_(static_cast<size_t>(options.batch) * info_.n_vocab) {}

  /// Prompts of n tokens on an empty sequence; the best of all repetitions counts.
  Json prefill(int32_t n) {
    const TokenIds ids = some_ids(n, n_vocab_, 7);
    double best = 0;
    Counters before{}, after{};
    for (int32_t r = 0; r < options_.repetitions; ++r) {
      probe_.measure_arithmetic();
      before = read_counters(engine_);
      const auto begin = Clock::now();
      run_prompt(0, ids);
      const double seconds = seconds_since(begin);
      after = read_counters(engine_);
      call("clearing the sequence", mm2_seq_free, engine_, 0);
      best = r == 0 ? seconds : std::min(best, seconds);
    }
    probe_.measure_arithmetic();
    const double rate = (after.flops - before.flops) / best / 1e9;
    const double layers = std::max(1.0, after.expert_layers - before.expert_layers);
    return {{"tokens", n},
            {"tok_per_s", n / best},
            {"gflop_per_s", rate},
            {"peak_gflop_per_s", probe_.peak_gflop_per_s()},
            {"share", rate / probe_.peak_gflop_per_s()},
            {"experts_touched", (after.experts_touched - before.experts_touched) / layers}};
  }

  /// One token for each of `batch` sequences a step, at the given depth and beyond.
  Json decode() {
    for (int32_t s = 0; s < options_.batch; ++s) {
      run_prompt(s, some_ids(std::max(1, options_.depth), n_vocab_, 100 + s));
    }
    double best = 0;
    Counters before{}, after{};
    for (int32_t r = 0; r < options_.repetitions; ++r) {
      probe_.measure_read();
      before = read_counters(engine_);
      const auto begin = Clock::now();
      for (int32_t i = 0; i < kStepsPerBlock; ++i) run_decode_step(r * kStepsPerBlock + i);
      const double seconds = seconds_since(begin) / kStepsPerBlock;
      after = read_counters(engine_);
      best = r == 0 ? seconds : std::min(best, seconds);
    }
    probe_.measure_read();
    const double gb = (after.bytes - before.bytes) / (after.steps - before.steps) / 1e9;
    return {{"batch", options_.batch},
            {"depth", options_.depth},
            {"tok_per_s", options_.batch / best},
            {"ms_per_step", best * 1e3},
            {"gb_per_step", gb},
            {"gb_per_s", gb / best},
            {"probe_gb_per_s", probe_.read_gb_per_s()},
            {"share", gb / best / probe_.read_gb_per_s()}};
  }

 private:
  void run_prompt(int32_t seq_id, const TokenIds& ids) {
    const auto n = static_cast<int32_t>(ids.size());
    for (int32_t at = 0; at < n; at += info_.max_tokens_per_step) {
      const int32_t count = std::min(info_.max_tokens_per_step, n - at);
      run_step({{seq_id, at, count, at + count == n ? 1 : 0}}, {&ids[at], &ids[at] + count});
    }
  }

  void run_decode_step(int32_t step) {
    std::vector<mm2_seq_rows> rows;
    for (int32_t s = 0; s < options_.batch; ++s) {
      rows.push_back({s, std::max(1, options_.depth) + step, 1, 1});
    }
    run_step(rows, some_ids(rows.size(), n_vocab_, 1000 + step));
  }

  void run_step(const std::vector<mm2_seq_rows>& rows, const TokenIds& ids) {
    auto batch = sized<mm2_batch>();
    batch.n_seqs = static_cast<int32_t>(rows.size());
    batch.seqs = rows.data();
    batch.tokens = ids.data();
    batch.n_tokens = static_cast<int32_t>(ids.size());
    const InterruptScope scope(engine_);
    if (interrupted()) throw Failure(kInterrupted, "measuring", "stopped by Ctrl-C");
    call("measuring", mm2_engine_step, engine_, &batch, logits_.data(), logits_.size(), nullptr);
  }

  const BenchOptions& options_;
  mm2_engine* engine_;
  mm2_engine_info info_;
  int32_t n_vocab_;
  MachineProbe probe_;
  std::vector<float> logits_;
};

const char* isa_name(int32_t isa) {
  switch (isa) {
    case MM2_ISA_GENERIC:
      return "generic";
    case MM2_ISA_AVX2:
      return "avx2";
    case MM2_ISA_AVX512:
      return "avx512";
    case MM2_ISA_REFERENCE:
      return "reference";
    case MM2_ISA_REFERENCE_F64:
      return "reference-f64";
    default:
      return "other";
  }
}

/// What most weights are: the type in which the experts are stored.
std::string quant_name(const mm2_model* model) {
  Buffer buffer;
  call("reading the model's description", mm2_model_describe, model, buffer.get());
  const Json description = parse_json(buffer.text(), "reading the model's description");
  const Json schemes = description.value("schemes", Json::object());
  for (const auto& [role, types] : schemes.items()) {
    const bool expert = role == "w1" || role.find("expert") != std::string::npos;
    if (expert && types.is_object() && !types.empty()) return types.begin().key();
  }
  return "unknown";
}

void print_result(const Json& result) {
  const Json& decode = result["decode"];
  std::printf("%s, %d threads, %d layers, %s\n", result["isa"].get<std::string>().c_str(),
              result["threads"].get<int>(), result["layers"].get<int>(),
              result["quant"].get<std::string>().c_str());
  for (const Json& prefill : result["prefill"]) {
    std::printf("prefill %5d tokens  %9.1f tok/s  %8.1f GFLOP/s  %5.1f %% of %.0f  %.1f experts\n",
                prefill["tokens"].get<int>(), prefill["tok_per_s"].get<double>(),
                prefill["gflop_per_s"].get<double>(), 100 * prefill["share"].get<double>(),
                prefill["peak_gflop_per_s"].get<double>(),
                prefill["experts_touched"].get<double>());
  }
  std::printf(
      "decode  %5d at once %9.1f tok/s  %8.3f ms  %.4f GB a step  %.1f GB/s  %5.1f %% of %.1f\n",
      decode["batch"].get<int>(), decode["tok_per_s"].get<double>(),
      decode["ms_per_step"].get<double>(), decode["gb_per_step"].get<double>(),
      decode["gb_per_s"].get<double>(), 100 * decode["share"].get<double>(),
      decode["probe_gb_per_s"].get<double>());
  const auto whole = result.find("whole_model");
  if (whole == result.end()) return;
  std::printf("by arithmetic, %d layers: %.2f GB a step, %.1f tok/s\n",
              (*whole)["layers"].get<int>(), (*whole)["gb_per_step"].get<double>(),
              (*whole)["tok_per_s"].get<double>());
}

Model open_model(const BenchOptions& options) {
  if (options.synthetic.empty()) {
    if (options.layers != 0 || options.vocab != 0 || !options.quant.empty()) {
      throw Failure(kUsage, "reading --layers, --vocab and --quant", "they go with --synthetic");
    }
    if (options.model.empty()) {
      throw Failure(kUsage, "reading the command line", "MODEL or --synthetic is missing");
    }
    return load_model(find_model(options.model), options.engine);
  }
  SyntheticModel synthetic(options.synthetic, options.quant.empty() ? "w4" : options.quant,
                           options.layers == 0 ? 1 : options.layers,
                           options.vocab == 0 ? SyntheticModel::kVocab : options.vocab);
  const mm2_source source = synthetic.source();
  return load_model(synthetic.path(), options.engine, false, &source);
}

/// What the rate of the measured layers means for a model of 62: everything but lm_head is read once
/// for each layer.
Json whole_model(const Json& decode, const mm2_model_info& shape) {
  const double row = 2e-9 * shape.hidden;  // of lm_head
  const double layer = (decode["gb_per_step"].get<double>() - row * shape.n_vocab) / shape.n_layers;
  const double gb = layer * kM2Layers + row * SyntheticModel::kVocab;
  return {{"layers", kM2Layers},
          {"gb_per_step", gb},
          {"tok_per_s", decode["batch"].get<double>() * decode["gb_per_s"].get<double>() / gb},
          {"by", "arithmetic"}};
}

ExitCode run_bench(const BenchOptions& options) {
  const Model model = open_model(options);
  const mm2_model_info shape = model_info(model.get());

  const TokenIds lengths = parse_ids(options.prompts);
  int64_t longest = options.depth + 1 + options.repetitions * kStepsPerBlock;
  for (const int32_t n : lengths) {
    if (n < 1) throw Failure(kUsage, "reading --prompt", "lengths start at 1");
    longest = std::max<int64_t>(longest, n);
  }
  if (longest > shape.max_positions) {
    throw Failure(kUsage, "reading --prompt and --depth",
                  std::to_string(longest) + " tokens, but the model has positions for " +
                      std::to_string(shape.max_positions));
  }
  mm2_engine_options settings = engine_options(options.engine);
  settings.max_seqs = std::max(settings.max_seqs, options.batch);
  settings.max_outputs_per_step = settings.max_seqs;
  if (settings.kv_tokens == 0) settings.kv_tokens = (longest + 64) * options.batch;
  const Engine engine = make_engine(model.get(), settings);

  Bench bench(options, engine.get(), shape.n_vocab);
  Json result = {{"decode", nullptr}, {"prefill", Json::array()}};
  for (const int32_t n : lengths) result["prefill"].push_back(bench.prefill(n));
  result["decode"] = bench.decode();
  const mm2_engine_info info = engine_info(engine.get());
  result["isa"] = isa_name(info.isa);
  result["threads"] = info.n_threads;
  result["layers"] = shape.n_layers;
  result["quant"] = quant_name(model.get());
  if (!options.synthetic.empty()) result["whole_model"] = whole_model(result["decode"], shape);
  options.json ? print_json(result) : print_result(result);
  return kOk;
}

}  // namespace

void add_bench(Program& program) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* verb = program.add_verb(
      "bench", "Speed of prefill and decode, as a share of what this machine can do",
      "mm2 bench examples/models/mm2-tiny --prompt 64,512 --json");
  verb->add_option("model", options->model, "checkpoint folder, or a repo id in the hub cache")
      ->type_name("MODEL");
  verb->add_option("--prompt", options->prompts, "prompt lengths to measure; 64,512 unless said")
      ->type_name("LIST");
  verb->add_option("--batch", options->batch, "sequences decoded at once")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--depth", options->depth, "tokens before the first decoded one")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--repetitions", options->repetitions, "measurements; the best one counts")
      ->check(CLI::Range(1, 1000));
  verb->add_option("--synthetic", options->synthetic, "true shapes, random weights: m2 or m2-reap");
  verb->add_option("--layers", options->layers, "layers of the synthetic model, 1 unless said");
  verb->add_option("--vocab", options->vocab,
                   "rows of its lm_head, 200064 unless said; fewer show the layers alone")
      ->check(CLI::Range(256, 1 << 20));
  verb->add_option("--quant", options->quant,
                   "weights of the synthetic model: w4, fp8, nvfp4 or bf16; w4 unless said");
  verb->add_flag("--json", options->json, "one JSON object");
  options->engine.add_to(verb);
  program.on_run(verb, [options] { return run_bench(*options); });
}

}  // namespace cli
