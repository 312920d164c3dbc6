#include "kernels/cuda/decode/engine.h"

using namespace support;

namespace {

// Sizes that fill no block, and products that are cut along K: 3 records of hidden.
ModelShape small_shape() {
  return {2, 328, 6, 2, 32, 16, 10, 3, 136, 150, 1e-6f, 5e6};
}
constexpr Format kW4{kInteger, kBF16, 4, 0, 0, 1, 128};
constexpr Format kNvfp4{kFp4, kE4M3, 4, 0, 0, 1, 16};
constexpr Format kFp8Blocks{kFp8, kF32, 8, 0, 0, 128, 128};

std::vector<int32_t> some_tokens(Random& random, const ModelShape& s, size_t n) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<int32_t>(random.bits() % static_cast<uint64_t>(s.n_vocab)));
  }
  return tokens;
}

double worst(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(double{a[i]} - b[i]));
  return most;
}

}  // namespace

TEST_CASE("cuda decode: logits are as near to FP64 as those of the CPU's kernels") {
  const ModelFormats formats[] = {
      {kW4, kW4, plain(kBF16)}, {kFp8Blocks, kNvfp4, kW4}, {plain(kBF16), kFp8Blocks, kFp8Blocks}};
  for (const ModelFormats& f : formats) {
    for (const int32_t number : {kBF16, kE4M3}) {
      TwoModels model(small_shape(), f, 17);
      Random random(5);
      DecodeEngine device(model, number);
      HostEngine cpu(model, generic_backend(), number, kBF16);
      HostEngine exact(model, reference_f64_backend(), number, kBF16);
      double of_device = 0, of_cpu = 0;
      for (int i = 0; i < 3; ++i) {
        std::vector<Advance> rows{{0, some_tokens(random, model.s, 3)},
                                  {2, some_tokens(random, model.s, 1)},
                                  {1, some_tokens(random, model.s, 2)}};
        const auto want = exact.run(rows);
        of_device = std::max(of_device, worst(device.run(rows), want));
        of_cpu = std::max(of_cpu, worst(cpu.run(rows), want));
      }
      INFO("device " << of_device << ", CPU " << of_cpu << ", cache " << number << ", format "
                     << (&f - formats));
      // Both round to BF16 in the same places; where a number is near the middle of two of them they
      // may go different ways, which is what both errors come from.
      CHECK(of_device <= 4 * of_cpu);
    }
  }
}

namespace {

// Three sequences of 11 tokens, each step as `cut` says: how many new tokens each of them gets.
struct Cutting {
  const char* name;
  std::vector<std::vector<std::pair<int32_t, size_t>>> steps;
};

// The logits of every token of every sequence, one after the other.
std::vector<float> logits_of(const TwoModels& model,
                             const std::vector<std::vector<int32_t>>& tokens, const Cutting& cut,
                             int32_t number, const cuda::DecodeOptions& options) {
  DecodeEngine engine(model, number, options);
  std::vector<std::vector<float>> all(tokens.size());
  std::vector<size_t> next(tokens.size());
  const auto vocab = static_cast<std::ptrdiff_t>(model.s.n_vocab);
  for (const auto& step : cut.steps) {
    std::vector<Advance> rows;
    for (const auto& [sequence, n] : step) {
      const auto& of = tokens[static_cast<size_t>(sequence)];
      const auto first =
          of.begin() + static_cast<std::ptrdiff_t>(next[static_cast<size_t>(sequence)]);
      rows.push_back({sequence, {first, first + static_cast<std::ptrdiff_t>(n)}});
      next[static_cast<size_t>(sequence)] += n;
    }
    const std::vector<float> logits = engine.run(rows);
    auto at = logits.begin();
    for (const auto& [sequence, n] : step) {
      const auto end = at + static_cast<std::ptrdiff_t>(n) * vocab;
      auto& to = all[static_cast<size_t>(sequence)];
      to.insert(to.end(), at, end);
      at = end;
    }
  }
  std::vector<float> flat;
  for (const auto& of : all) flat.insert(flat.end(), of.begin(), of.end());
  return flat;
}

}  // namespace

TEST_CASE(
    "cuda decode: bits do not depend on the batch, its order, cuts, or how kernels are started") {
  const Cutting alone{"alone, one by one",
                      {{{0, 1}},
                       {{0, 1}},
                       {{0, 1}},
                       {{0, 1}},
                       {{0, 1}},
                       {{0, 1}},
                       {{1, 1}},
                       {{1, 1}},
                       {{1, 1}},
                       {{1, 1}},
                       {{1, 1}},
                       {{2, 1}},
                       {{2, 1}},
                       {{2, 1}}}};
  const Cutting others[] = {{"eight at once", {{{2, 3}, {0, 4}, {1, 1}}, {{1, 4}, {0, 2}}}},
                            {"together", {{{0, 2}, {1, 2}, {2, 2}}, {{2, 1}, {1, 3}, {0, 4}}}},
                            {"all at once", {{{2, 3}, {1, 5}, {0, 6}}}},
                            {"one sequence after the other", {{{1, 5}}, {{0, 6}}, {{2, 3}}}}};
  TwoModels model(small_shape(), {kW4, kNvfp4, plain(kBF16)}, 3);
  Random random(8);
  const std::vector<std::vector<int32_t>> tokens{some_tokens(random, model.s, 6),
                                                 some_tokens(random, model.s, 5),
                                                 some_tokens(random, model.s, 3)};
  cuda::DecodeOptions options;
  const auto want = logits_of(model, tokens, alone, kE4M3, options);
  for (const Cutting& cut : others) {
    INFO(cut.name);
    options.blocks_per_multiprocessor = options.blocks_per_multiprocessor % 3 + 1;
    options.n_multiprocessors += 3;
    options.uses_graph = !options.uses_graph;
    options.overlaps = !options.overlaps;
    CHECK(same_bits(logits_of(model, tokens, cut, kE4M3, options), want));
  }
}

TEST_CASE("cuda decode: a row that is not finite says so, and spoils no other") {
  const ModelShape s = small_shape();
  TwoModels model(s, {kW4, kW4, kW4}, 4);
  DecodeEngine engine(model, kBF16);
  const auto want = engine.run({{0, {3}}, {1, {5, 6}}});
  DecodeEngine again(model, kBF16);
  auto* h = const_cast<float*>(reinterpret_cast<const float*>(model.device.embedding.data));
  h[7 * s.hidden + 5] = std::nanf("");
  const auto got =
      again.run({{0, {3}}, {2, {7}}, {1, {5, 6}}}, {kRowDone, kRowNotFinite, kRowDone});
  const auto row = static_cast<size_t>(s.n_vocab) * sizeof(float);
  CHECK(std::memcmp(got.data(), want.data(), row) == 0);
  CHECK(std::memcmp(got.data() + 2 * s.n_vocab, want.data() + s.n_vocab, 2 * row) == 0);
}

TEST_CASE("cuda decode: a step is as many launches as its plan says") {
  TwoModels model(small_shape(), {kW4, kW4, kW4}, 4);
  for (const bool uses_graph : {false, true}) {
    cuda::DecodeOptions options;
    options.uses_graph = uses_graph;
    DecodeEngine engine(model, kBF16, options);
    const int64_t before = cuda_emulator::counts().launches;
    engine.run({{0, {1, 2}}});
    const int64_t after = cuda_emulator::counts().launches;
    CHECK(after - before == cuda::step_launches(model.s, 2, 2));
    engine.run({{0, {1, 2, 3, 4, 5, 6}}, {1, {1, 2, 3}}});
    CHECK(cuda_emulator::counts().launches - after == cuda::step_launches(model.s, 9, 9));
  }
}
