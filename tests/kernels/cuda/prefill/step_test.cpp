// Runs on the emulator.
#include "kernels/cuda/prefill/engine.h"

using namespace support;

namespace {

ModelShape small_shape() {
  return {2, 264, 6, 2, 32, 16, 6, 2, 136, 90, 1e-6f, 5e6};
}
constexpr Format kW4{kInteger, kBF16, 4, 0, 0, 1, 128};
constexpr Format kNvfp4{kFp4, kE4M3, 4, 0, 0, 1, 16};
constexpr Format kFp8Blocks{kFp8, kF32, 8, 0, 0, 128, 128};

std::vector<int32_t> some_tokens(uint32_t seed, size_t n) {
  Random random(seed);
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < n; ++i) {
    tokens.push_back(static_cast<int32_t>(random.bits() % uint64_t{90}));
  }
  return tokens;
}

std::vector<int32_t> part(const std::vector<int32_t>& of, size_t first, size_t n) {
  const auto at = of.begin() + static_cast<std::ptrdiff_t>(first);
  return {at, at + static_cast<std::ptrdiff_t>(n)};
}

void check_bits(const std::vector<float>& got, const float* want) {
  for (size_t i = 0; i < got.size(); ++i) {
    INFO("number " << i);
    REQUIRE(mm2::kernels::bits_of(got[i]) == mm2::kernels::bits_of(want[i]));
  }
}

}  // namespace

TEST_CASE("cuda prefill: a prompt at once has the bits of the same tokens one by one, few by few") {
  const ModelFormats formats[] = {{kW4, kW4, plain(kBF16)}, {kFp8Blocks, kNvfp4, kW4}};
  for (const ModelFormats& f : formats) {
    const int32_t number = &f == formats ? kBF16 : kE4M3;
    INFO("formats " << (&f - formats) << ", cache " << number);
    const TwoModels model(small_shape(), f, 17);
    const auto tokens = some_tokens(3, 21);
    FastEngine at_once(model, number);
    const std::vector<float> all = at_once.run({{1, tokens}});
    CHECK(at_once.results == std::vector<int32_t>{mm2::kernels::kRowDone});
    FastEngine few(model, number);
    size_t done = 0;
    for (const size_t n : {1, 8, 3, 9}) {
      check_bits(few.run({{1, part(tokens, done, n)}}), all.data() + done * 90);
      done += n;
    }
  }
}

TEST_CASE("cuda prefill: bits depend neither on who shares the step nor on the processors") {
  const TwoModels model(small_shape(), {kW4, kW4, kFp8Blocks}, 5);
  const auto a = some_tokens(1, 20), b = some_tokens(2, 9), c = some_tokens(3, 4);
  FastEngine alone(model, kE4M3), together(model, kE4M3, 132);
  const std::vector<float> all = together.run({{2, c}, {0, a}, {1, b}});
  CHECK(together.results.size() == 3);
  check_bits(alone.run({{2, c}}), all.data());
  check_bits(alone.run({{0, a}}), all.data() + 4 * 90);
  check_bits(alone.run({{1, b}}), all.data() + 24 * 90);
  // The next tokens find what was stored.
  const std::vector<float> next = together.run({{0, {5}}, {1, {6}}, {2, {7}}});
  check_bits(alone.run({{1, {6}}}), next.data() + 90);
  check_bits(alone.run({{0, {5}}}), next.data());
}

TEST_CASE("cuda prefill: a row that is not finite says so, and spoils no other") {
  const TwoModels model(small_shape(), {kW4, kW4, kW4}, 4);
  FastEngine clean(model, kBF16), spoilt(model, kBF16);
  const auto a = some_tokens(1, 10), b = some_tokens(2, 10);
  const std::vector<float> want = clean.run({{0, a}, {1, b}});
  auto* embedding = const_cast<float*>(reinterpret_cast<const float*>(model.device.embedding.data));
  const float kept = embedding[89 * 264 + 5];
  embedding[89 * 264 + 5] = std::nanf("");
  std::vector<int32_t> bad(9, 89);
  const std::vector<float> got = spoilt.run({{0, a}, {2, bad}, {1, b}});
  embedding[89 * 264 + 5] = kept;
  CHECK(spoilt.results == std::vector<int32_t>{mm2::kernels::kRowDone, mm2::kernels::kRowNotFinite,
                                               mm2::kernels::kRowDone});
  const bool uses_89 = std::count(a.begin(), a.end(), 89) + std::count(b.begin(), b.end(), 89) > 0;
  REQUIRE_FALSE(uses_89);
  check_bits(std::vector<float>(got.begin(), got.begin() + 10 * 90), want.data());
  check_bits(std::vector<float>(got.begin() + 19 * 90, got.end()), want.data() + 10 * 90);
}
