// Logits and greedy continuations against FP64 ones that another implementation made
// (tests/data/models).
#include <iostream>

#include "support/engine.h"
#include "support/golden.h"

namespace {

const std::vector<std::string> kPlain = {"bf16",   "bf16_single", "f16",          "f32",
                                         "pruned", "alias_fused", "alias_gate_up"};

std::vector<std::string> all_folders() {
  std::vector<std::string> all = kPlain;
  all.insert(all.end(), golden::kQuantised.begin(), golden::kQuantised.end());
  return all;
}

// What float32 arithmetic may lose on these models: ten times what a plain float32 forward pass of
// the same order of operations was measured to lose against FP64 (1e-5 to 2.5e-5), because the
// order of additions differs.
constexpr double kF32MaxError = 2e-4;
constexpr double kF32MeanKl = 1e-9;

golden::Distance distance(const std::string& folder, const std::string& set, mm2::Isa isa,
                          const mm2::EngineOptions& options) {
  const auto engine = support::engine(support::load(golden::kModels + folder, isa), options);
  const golden::Tensors expected(golden::kModels + folder + "/expected/logits.safetensors");
  const auto n_vocab = static_cast<size_t>(engine->model().shape().n_vocab);
  golden::Distance d;
  for (const golden::Prompt& prompt : golden::prompts(folder, set)) {
    const auto got = support::all_logits(*engine, 0, prompt.ids);
    const auto want = expected.read(prompt.name);
    const size_t skip = static_cast<size_t>(prompt.first_position) * n_vocab;
    REQUIRE(got.size() - skip == want.size());
    d.add(want.data(), got.data() + skip, want.size() / n_vocab, n_vocab);
    REQUIRE(engine->seq_free(0).ok());
  }
  return d;
}

// The stored transformers run on the same prompts.
golden::Distance transformers_distance(const std::string& folder, const std::string& set,
                                       const std::string& file, size_t n_vocab) {
  const golden::Tensors expected(golden::kModels + folder + "/expected/logits.safetensors");
  const golden::Tensors theirs(golden::kModels + folder + "/expected/" + file);
  golden::Distance d;
  for (const golden::Prompt& prompt : golden::prompts(folder, set)) {
    const auto want = expected.read(prompt.name);
    const auto got = theirs.read(prompt.name);
    REQUIRE(want.size() == got.size());
    d.add(want.data(), got.data(), want.size() / n_vocab, n_vocab);
  }
  return d;
}

// Variance of a row of expected logits of the tight prompts, mean over the rows.
double mean_variance(const std::string& folder, size_t n_vocab) {
  const golden::Tensors expected(golden::kModels + folder + "/expected/logits.safetensors");
  double sum = 0, n_rows = 0;
  for (const golden::Prompt& prompt : golden::prompts(folder, "tight")) {
    const auto logits = expected.read(prompt.name);
    for (size_t from = 0; from < logits.size(); from += n_vocab, ++n_rows) {
      double mean = 0, square = 0;
      for (size_t i = from; i < from + n_vocab; ++i) {
        mean += logits[i] / static_cast<double>(n_vocab);
        square += double{logits[i]} * logits[i] / static_cast<double>(n_vocab);
      }
      sum += square - mean * mean;
    }
  }
  return sum / n_rows;
}

// The experts that a step chooses: [layer][position, top_k].
struct Experts {
  std::vector<std::vector<int32_t>> ids;

  static void see(void* self, const char* name, int32_t, const void* data, int32_t, int64_t n_rows,
                  int64_t width) {
    if (std::string_view(name) != "topk_ids") return;
    const auto* ids = static_cast<const int32_t*>(data);
    static_cast<Experts*>(self)->ids.emplace_back(ids, ids + n_rows * width);
  }
  // The first position where a layer chooses otherwise, or how many there are.
  size_t first_other(const Experts& o, size_t n_positions) const {
    size_t first = n_positions;
    for (size_t layer = 0; layer < ids.size(); ++layer) {
      const auto& mine = ids[layer];
      const auto at = std::mismatch(mine.begin(), mine.end(), o.ids[layer].begin()).first;
      const auto index = static_cast<size_t>(at - mine.begin());
      first = std::min(first, index / (mine.size() / n_positions));
    }
    return first;
  }
};

// How far from FP64 the tight prompts are: all positions, and those of each prompt before the first
// one that goes to other experts than with F32 activations.
struct Chosen {
  golden::Distance all, alike;
};

Chosen run_beside_f32(const std::string& folder, mm2::Activations activations) {
  const auto model = support::load(golden::kModels + folder);
  const auto rounded = support::engine(model, {.activations = activations, .n_threads = 2});
  const auto exact = support::engine(model, {.activations = mm2::Activations::f32, .n_threads = 2});
  const golden::Tensors expected(golden::kModels + folder + "/expected/logits.safetensors");
  const auto n_vocab = static_cast<size_t>(model->shape().n_vocab);
  Chosen result;
  for (const golden::Prompt& prompt : golden::prompts(folder, "tight")) {
    Experts mine, theirs;
    const mm2::kernels::Observer see_mine{&mine, &Experts::see}, see_theirs{&theirs, &Experts::see};
    rounded->observe(&see_mine);
    exact->observe(&see_theirs);
    const auto got = support::all_logits(*rounded, 0, prompt.ids);
    support::all_logits(*exact, 0, prompt.ids);
    const auto want = expected.read(prompt.name);
    const auto first = static_cast<size_t>(prompt.first_position);
    const size_t n_rows = want.size() / n_vocab;
    result.all.add(want.data(), got.data() + first * n_vocab, n_rows, n_vocab);
    const size_t other = mine.first_other(theirs, prompt.ids.size());
    const size_t n_alike = other < first ? 0 : std::min(other - first, n_rows);
    result.alike.add(want.data(), got.data() + first * n_vocab, n_alike, n_vocab);
    REQUIRE(rounded->seq_free(0).ok());
    REQUIRE(exact->seq_free(0).ok());
  }
  return result;
}

}  // namespace

TEST_CASE("golden: the FP64 reference equals the FP64 logits to the last bit that F32 can store") {
  for (const std::string& folder : all_folders()) {
    // The expectations take products of E4M3 codes or scales with F32 scales as numbers that were
    // rounded to F32; the reference has them whole. That is at most 2^-24 of each weight, 3.4e-8 in
    // the mean square; errors of the 8 matrices on a path add up as their squares, so a logit of 13
    // (five deviations) is off by 1.3e-6. Three times that is allowed. Other products are exact.
    const bool rounded = folder == "fp8" || folder == "ct_nvfp4" || folder == "nvfp4_modelopt";
    // Logits are below 16, where half an F32 step is 4.8e-7; both sides were rounded once.
    const double bound = rounded ? 5e-6 : 1e-6;
    for (const char* set : {"tight", "natural"}) {
      const auto d = distance(folder, set, mm2::Isa::reference_f64, {.n_threads = 2});
      INFO(folder << " " << set << ": max error " << d.max_abs << ", mean KL " << d.mean_kl());
      CHECK(d.max_abs <= bound);
    }
  }
}

TEST_CASE("golden: F32 activations stay within float32's error, on both FP32 backends") {
  for (const mm2::Isa isa : {mm2::Isa::reference, mm2::Isa::generic}) {
    for (const std::string& folder : all_folders()) {
      for (const char* set : {"tight", "natural"}) {
        const auto d = distance(
            folder, set, isa,
            {.kv_dtype = mm2::KvDtype::f32, .activations = mm2::Activations::f32, .n_threads = 2});
        INFO(folder << " " << set << ": max error " << d.max_abs << ", mean KL " << d.mean_kl());
        CHECK(d.max_abs <= kF32MaxError);
        CHECK(d.mean_kl() <= kF32MeanKl);
      }
    }
  }
}

TEST_CASE("golden: BF16 activations are at most half as far from FP64 as transformers in BF16") {
  for (const std::string folder : {"bf16", "bf16_single"}) {
    const size_t n_vocab = folder == "bf16" ? 260 : 512;
    const auto mine = distance(folder, "tight", mm2::Isa::generic,
                               {.activations = mm2::Activations::bf16, .n_threads = 2});
    const auto theirs =
        transformers_distance(folder, "tight", "transformers_bf16_f32router.safetensors", n_vocab);
    INFO(folder << ": mean KL " << mine.mean_kl() << ", transformers " << theirs.mean_kl());
    CHECK(mine.mean_kl() <= 0.5 * theirs.mean_kl());
    const auto natural = distance(folder, "natural", mm2::Isa::generic,
                                  {.activations = mm2::Activations::bf16, .n_threads = 2});
    const auto natural_theirs = transformers_distance(
        folder, "natural", "transformers_bf16_f32router.safetensors", n_vocab);
    WARN(folder << " mean KL, tight " << mine.mean_kl() << " (transformers " << theirs.mean_kl()
                << "), natural " << natural.mean_kl() << " (transformers "
                << natural_theirs.mean_kl() << ")");
  }
}

TEST_CASE("golden: BF16 activations on quantised weights are no worse than transformers on BF16") {
  const auto baseline =
      transformers_distance("bf16", "tight", "transformers_bf16_f32router.safetensors", 260);
  const double spread = mean_variance("bf16", 260);
  for (const std::string& folder : golden::kQuantised) {
    const auto d = distance(folder, "tight", mm2::Isa::generic,
                            {.activations = mm2::Activations::bf16, .n_threads = 2});
    // A small KL grows with the square of what the logits are off, which grows with the logits.
    const double bound = baseline.mean_kl() * mean_variance(folder, 260) / spread;
    INFO(folder << ": mean KL " << d.mean_kl() << ", bound " << bound);
    CHECK(d.mean_kl() <= bound);
  }
}

TEST_CASE("golden: activations of 8 bits cost what their steps are larger than those of BF16") {
  const auto baseline =
      transformers_distance("bf16", "tight", "transformers_bf16_f32router.safetensors", 260);
  const double spread = mean_variance("bf16", 260);
  // Roundings to steps of s have a mean square of s^2 / 12. A BF16 in [2^e, 2^(e + 1)) has steps of
  // 2^(e - 7); over all mantissas the mean of 2^(2 e) / x^2 is 3 / (8 ln 2). Codes of 8 bits have steps
  // of size / 127, and the greatest of 128 normal numbers is 2.8 deviations.
  const double bf16_step = std::pow(2.0, -14) * 3 / (8 * std::log(2.0));
  const double int8_step = std::pow(2.8 / 127, 2);
  for (const std::string& folder : golden::kQuantised) {
    const Chosen int8 = run_beside_f32(folder, mm2::Activations::int8);
    const Chosen bf16 = run_beside_f32(folder, mm2::Activations::bf16);
    WARN(folder << ": mean KL " << int8.all.mean_kl() << " (BF16 " << bf16.all.mean_kl()
                << "), of the " << int8.alike.rows << " of " << int8.all.rows
                << " positions up to another choice of experts " << int8.alike.mean_kl());
    const bool integers = folder.find("fp") == std::string::npos;
    CHECK((int8.all.mean_kl() > bf16.all.mean_kl()) == integers);
    CHECK((int8.all.max_abs == bf16.all.max_abs) != integers);
    // A small KL grows with the square of what the activations are off, as long as the same experts
    // are chosen.
    const double bound = baseline.mean_kl() * mean_variance(folder, 260) / spread;
    CHECK(int8.alike.mean_kl() <= bound * (integers ? int8_step / bf16_step : 1));
    CHECK(int8.alike.rows > 0);
  }
}

TEST_CASE("golden: greedy continuations equal the FP64 ones wherever the margin decides") {
  for (const std::string& folder : all_folders()) {
    const auto engine = support::engine(
        support::load(golden::kModels + folder),
        {.kv_dtype = mm2::KvDtype::f32, .activations = mm2::Activations::f32, .n_threads = 2});
    const auto n_vocab = static_cast<size_t>(engine->model().shape().n_vocab);
    const auto prompts = golden::prompts(folder, "tight");
    for (const auto& run : golden::read_json(golden::kModels + folder + "/expected/greedy.json")) {
      const auto& prompt = prompts[run["prompt"].get<size_t>()];
      const auto want = run["ids"].get<std::vector<int32_t>>();
      const auto margin = run["logit_margin"].get<std::vector<double>>();
      auto logits = support::all_logits(*engine, 0, prompt.ids);
      for (size_t i = 0; i < want.size() && margin[i] > 2 * kF32MaxError; ++i) {
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
