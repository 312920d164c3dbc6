// An FP8 cache of keys and values, with the scales of the checkpoint: against FP64 runs that round
// them in the same way (tests/data/models/*/expected/*_kv8.*).
#include <algorithm>

#include "kernels/api/numbers.h"
#include "support/engine.h"
#include "support/golden.h"

namespace {

const std::vector<std::string> kFolders = {"ct_mixed", "nvfp4_modelopt"};

mm2::EngineOptions fp8(mm2::Activations activations) {
  return {.kv_dtype = mm2::KvDtype::fp8, .activations = activations, .n_threads = 2};
}

golden::Distance distance(const std::string& folder, const std::string& set, mm2::Isa isa) {
  const auto engine =
      support::engine(support::load(golden::kModels + folder, isa), fp8(mm2::Activations::f32));
  const golden::Tensors expected(golden::kModels + folder + "/expected/logits_kv8.safetensors");
  const auto n_vocab = static_cast<size_t>(engine->model().shape().n_vocab);
  golden::Distance d;
  for (const golden::Prompt& prompt : golden::prompts(folder, set)) {
    const auto got = support::all_logits(*engine, 0, prompt.ids);
    const auto want = expected.read(prompt.name);
    REQUIRE(got.size() >= want.size());
    d.add(want.data(), got.data() + (got.size() - want.size()), want.size() / n_vocab, n_vocab);
    REQUIRE(engine->seq_free(0).ok());
  }
  return d;
}

// Keys and values of a layer before they are rounded, of the last step: [n_tokens, 2, width].
struct Seen {
  std::vector<std::vector<double>> kv;

  static void see(void* self, const char* name, int32_t, const void* data, int32_t number,
                  int64_t n_rows, int64_t width) {
    if (std::string_view(name) != "kv") return;
    auto& to = static_cast<Seen*>(self)->kv.emplace_back();
    for (int64_t i = 0; i < n_rows * width; ++i) {
      to.push_back(number == mm2::kernels::kF64 ? static_cast<const double*>(data)[i]
                                                : static_cast<const float*>(data)[i]);
    }
  }
};

struct Codes {
  size_t all = 0, wrong = 0;

  // `bound`: how far x may be from the exact value.
  void add(double x, double bound, float scale, uint8_t want) {
    const float y = static_cast<float>(x) / scale;
    const uint8_t got = mm2::kernels::f32_to_e4m3(y);
    ++all;
    if (got == want) return;
    // Another code is right only where x lies at the tie between the two.
    const double tie =
        0.5 * (double{mm2::kernels::e4m3_to_f32(got)} + mm2::kernels::e4m3_to_f32(want));
    wrong += std::abs(y - tie) <= bound / scale ? 0 : 1;
  }
};

Codes compare_codes(const std::string& folder, mm2::Isa isa, double bound) {
  const auto engine =
      support::engine(support::load(golden::kModels + folder, isa), fp8(mm2::Activations::f32));
  Seen seen;
  const mm2::kernels::Observer observer{&seen, &Seen::see};
  engine->observe(&observer);
  support::all_logits(*engine, 0, golden::prompts(folder, "tight")[2].ids);
  const golden::Tensors expected(golden::kModels + folder + "/expected/trace_kv8.safetensors");
  const mm2::kernels::ModelShape& s = engine->model().shape();
  const auto head_dim = static_cast<size_t>(s.head_dim);
  const size_t width = static_cast<size_t>(s.n_kv_heads) * head_dim;
  Codes codes;
  for (size_t layer = 0; layer < seen.kv.size(); ++layer) {
    const std::string name = "layer" + std::to_string(layer) + ".";
    for (const bool is_value : {false, true}) {
      const auto want = expected.read<uint8_t>(name + (is_value ? "v_codes" : "k_codes"));
      const mm2::KvScales& scales = engine->model().kv_scales();
      for (size_t i = 0; i < want.size(); ++i) {
        const size_t head = layer * static_cast<size_t>(s.n_kv_heads) + i % width / head_dim;
        const double x = seen.kv[layer][i / width * 2 * width + (is_value ? width : 0) + i % width];
        codes.add(x, bound, (is_value ? scales.v : scales.k)[head], want[i]);
      }
    }
  }
  return codes;
}

}  // namespace

TEST_CASE("kv8: the FP64 reference over an FP8 cache equals the FP64 logits") {
  for (const std::string& folder : kFolders) {
    // As in golden_test.cpp: NVFP4's scales were rounded once more by the other side.
    const double bound = folder == "nvfp4_modelopt" ? 5e-6 : 1e-6;
    for (const char* set : {"tight", "natural"}) {
      const auto d = distance(folder, set, mm2::Isa::reference_f64);
      INFO(folder << " " << set << ": max error " << d.max_abs << ", mean KL " << d.mean_kl());
      CHECK(d.max_abs <= bound);
    }
  }
}

TEST_CASE("kv8: F32 arithmetic over an FP8 cache stays within its error, on each backend") {
  for (const mm2::Isa isa : {mm2::Isa::reference, mm2::Isa::generic, mm2::Isa::automatic}) {
    for (const std::string& folder : kFolders) {
      // A key or value at a tie may take the neighbouring code. The other side's own F32 run was
      // measured to lose up to 4e-2 that way, and sets these limits.
      const auto d = distance(folder, "tight", isa);
      INFO(folder << ": max error " << d.max_abs << ", mean KL " << d.mean_kl());
      CHECK(d.max_abs <= 1e-1);
      CHECK(d.mean_kl() <= 1e-4);
    }
  }
}

TEST_CASE("kv8: keys and values get the expected codes, or at a tie the neighbouring ones") {
  for (const std::string& folder : kFolders) {
    // What the trace's F32 and the logits' bounds of golden_test.cpp leave open.
    const Codes exact = compare_codes(folder, mm2::Isa::reference_f64, 1e-5);
    const Codes single = compare_codes(folder, mm2::Isa::automatic, 2e-4);
    INFO(folder);
    CHECK(exact.all == 2 * 2 * 33 * 64);
    CHECK(exact.wrong == 0);
    CHECK(single.wrong == 0);
  }
}

TEST_CASE("kv8: greedy continuations equal the FP64 ones wherever the margin decides") {
  for (const std::string& folder : kFolders) {
    const auto engine =
        support::engine(support::load(golden::kModels + folder), fp8(mm2::Activations::f32));
    const auto n_vocab = static_cast<size_t>(engine->model().shape().n_vocab);
    const auto prompts = golden::prompts(folder, "tight");
    for (const auto& run :
         golden::read_json(golden::kModels + folder + "/expected/greedy_kv8.json")) {
      const auto want = run["ids"].get<std::vector<int32_t>>();
      const auto margin = run["logit_margin"].get<std::vector<double>>();
      auto logits = support::all_logits(*engine, 0, prompts[run["prompt"].get<size_t>()].ids);
      // Twice the limit of F32 arithmetic above.
      for (size_t i = 0; i < want.size() && margin[i] > 2e-1; ++i) {
        const float* last = logits.data() + logits.size() - n_vocab;
        const auto best = static_cast<int32_t>(std::max_element(last, last + n_vocab) - last);
        INFO(folder << " prompt " << run["prompt"] << " step " << i);
        REQUIRE(best == want[i]);
        logits = support::all_logits(*engine, 0, {best});
      }
      REQUIRE(engine->seq_free(0).ok());
    }
  }
}

TEST_CASE("kv8: the bits of a prompt do not depend on how it was cut") {
  for (const std::string& folder : kFolders) {
    const auto engine =
        support::engine(support::load(golden::kModels + folder), fp8(mm2::Activations::bf16));
    const auto ids = golden::prompts(folder, "tight")[3].ids;
    const auto whole = support::all_logits(*engine, 0, ids);
    for (const int32_t chunk : {1, 7, 64}) {
      REQUIRE(engine->seq_free(0).ok());
      CHECK(support::all_logits(*engine, 0, ids, chunk) == whole);
    }
  }
}

TEST_CASE("kv8: scales are 1 only where that is asked for, the pool is a quarter of F32's") {
  const auto model = support::load(golden::kModels + "bf16");
  const mm2::Host host;
  mm2::EngineOptions options = fp8(mm2::Activations::f32);
  CHECK(mm2::Engine::create(model, options, host).status().code() == mm2::Code::unsupported);
  CHECK(mm2::Engine::estimate(*model, options, host).status().code() == mm2::Code::unsupported);
  options.kv_scales = mm2::KvScaleSource::one;
  const auto engine = support::engine(model, options);
  CHECK(engine->options().kv_dtype == mm2::KvDtype::fp8);
  const auto plain = support::engine(model, {.activations = mm2::Activations::f32, .n_threads = 2});
  CHECK(4 * engine->memory().kv == plain->memory().kv);

  const auto ids = golden::prompts("bf16", "tight")[2].ids;
  const auto n_vocab = static_cast<size_t>(model->shape().n_vocab);
  const auto exact =
      support::engine(support::load(golden::kModels + "bf16", mm2::Isa::reference_f64), options);
  const auto want = support::all_logits(*exact, 0, ids);
  golden::Distance d, rounding;
  d.add(want.data(), support::all_logits(*engine, 0, ids).data(), ids.size(), n_vocab);
  rounding.add(want.data(), support::all_logits(*plain, 0, ids).data(), ids.size(), n_vocab);
  CHECK(d.max_abs <= 1e-1);
  CHECK(d.mean_kl() <= 1e-4);
  CHECK(rounding.max_abs > d.max_abs);  // an FP8 cache is another function than an F32 one
  const mm2::kernels::ModelShape& s = model->shape();
  CHECK(engine->stats()["kv_bytes_read"].get<size_t>() ==
        ids.size() * static_cast<size_t>(2 * s.n_layers * s.n_kv_heads * s.head_dim));
}
