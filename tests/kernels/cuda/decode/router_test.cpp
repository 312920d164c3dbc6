#include "kernels/cuda/decode/math.h"
#include "kernels/cuda/decode/model.h"
#include "kernels/cuda/decode/small_steps.h"

using namespace support;

namespace {

constexpr int32_t kHidden = 264, kExperts = 37, kTopK = 5, kTokens = 7;

struct Routed {
  std::vector<float> scores, weights;
  std::vector<int32_t> ids;
  cuda::Routing routing;
};

Routed route(const TwoMatrices& gate, const std::vector<float>& bias, const std::vector<float>& h) {
  const auto n = static_cast<int32_t>(h.size()) / kHidden;
  const OnDevice<cuda::StepInput> input(1);
  *input.get() = {};
  input.get()->n_tokens = input.get()->step_tokens = n;
  const OnDevice<float> rows(h), norm(std::vector<float>(kHidden, 1.0f)), of_bias(bias);
  const OnDevice<float> scores(8 * kExperts);
  const OnDevice<uint32_t> counter(std::vector<uint32_t>(1, 0));
  const OnDevice<cuda::Routing> routing(1);
  const OnDevice<int32_t> ids(8 * kTopK);
  const auto row_bytes = static_cast<int32_t>(gate.device.layout.n_records * 128 * 4);
  const cuda::RouterStep step{input.get(),   rows.get(),       norm.get(),
                              1e-6f,         kHidden,          kExperts,
                              kTopK,         gate.device.data, gate.device.layout.block_bytes,
                              row_bytes,     of_bias.get(),    scores.get(),
                              counter.get(), routing.get(),    0,
                              ids.get()};
  REQUIRE(cuda::run_router(step, false, nullptr) == cudaSuccess);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(*counter.get() == 0);
  Routed r{scores.read(static_cast<size_t>(n * kExperts)),
           {},
           ids.read(static_cast<size_t>(n * kTopK)),
           *routing.get()};
  r.weights.assign(r.routing.weights, r.routing.weights + n * kTopK);
  return r;
}

}  // namespace

TEST_CASE(
    "cuda decode router: scores within the bound of FP32 sums, the best of them chosen, ties to "
    "the lower id") {
  Random random(31);
  const TwoMatrices gate(random, kExperts, kHidden, plain(kF32), 0.1f);
  std::vector<float> bias = random.vector(kExperts, 0.1f);
  const std::vector<float> h = random.vector(kTokens * kHidden);
  const Routed got = route(gate, bias, h);
  std::vector<uint32_t> choosers(kExperts, 0);
  for (int t = 0; t < kTokens; ++t) {
    double squares = 0;
    for (int k = 0; k < kHidden; ++k) squares += double{h[t * kHidden + k]} * h[t * kHidden + k];
    const double factor = 1 / std::sqrt(squares / kHidden + 1e-6);
    const float* scores = got.scores.data() + t * kExperts;
    for (int e = 0; e < kExperts; ++e) {
      double sum = 0, sizes = 0;
      for (int k = 0; k < kHidden; ++k) {
        const double term = gate.weights.at(e, k) * h[t * kHidden + k] * factor;
        sum += term;
        sizes += std::abs(term);
      }
      // Sums of hidden / 128 and 8; the norm's own sum, root and division, and two products; sigmoid has
      // a slope of at most 1/4 and three roundings of its own.
      const double off = sizes * (kHidden / 128.0 + 8 + kHidden / 256.0 + 4 + 6) * kEps;
      CHECK(std::abs(double{scores[e]} - 1 / (1 + std::exp(-sum))) <= off / 4 + 6 * kEps);
    }
    std::vector<int32_t> want;
    for (int n = 0; n < kTopK; ++n) {
      int32_t best = -1;
      for (int32_t e = 0; e < kExperts; ++e) {
        if (std::count(want.begin(), want.end(), e) != 0) continue;
        if (best < 0 || scores[e] + bias[e] > scores[best] + bias[best]) best = e;
      }
      want.push_back(best);
    }
    std::sort(want.begin(), want.end());
    float sum = 0;
    for (const int32_t e : want) sum += scores[e];
    for (int n = 0; n < kTopK; ++n) {
      CHECK(got.ids[t * kTopK + n] == want[n]);
      CHECK(got.weights[t * kTopK + n] == scores[want[n]] / sum);
      choosers[want[n]] |= 1u << t;
    }
  }
  int32_t at = 0;
  for (int32_t e = 0; e < kExperts; ++e) {
    if (choosers[e] == 0) continue;
    REQUIRE(at < got.routing.n_touched);
    CHECK(got.routing.experts[at] == e);
    CHECK(got.routing.choosers[at] == choosers[e]);
    for (int t = 0; t < kTokens; ++t) {
      float share = 0;
      for (int n = 0; n < kTopK; ++n) {
        if (got.ids[t * kTopK + n] == e) share = got.weights[t * kTopK + n];
      }
      CHECK(got.routing.shares[at][t] == share);
    }
    ++at;
  }
  CHECK(at == got.routing.n_touched);
}

TEST_CASE(
    "cuda decode router: equal scores go to the lower ids, and no number still chooses different "
    "experts") {
  Random random(32);
  const TwoMatrices gate(random, kExperts, kHidden, plain(kF32), 0.0f);
  const std::vector<float> bias(kExperts, 0.25f);
  const Routed even = route(gate, bias, random.vector(kHidden));
  CHECK(even.ids == std::vector<int32_t>{0, 1, 2, 3, 4});
  std::vector<float> h = random.vector(2 * kHidden);
  h[3] = std::nanf("");
  const Routed none = route(gate, bias, h);
  CHECK(std::vector<int32_t>(none.ids.begin(), none.ids.begin() + kTopK) ==
        std::vector<int32_t>{0, 1, 2, 3, 4});
}

TEST_CASE("cuda decode math: powers and the sigmoid are as exact as they say") {
  double worst_power = 0, worst_sigmoid = 0;
  for (float t = -125.0f; t < 127.9f; t += 0.0137f) {
    const double exact = std::exp2(double{t});
    worst_power = std::max(worst_power, std::abs(cuda::exp2_fast(t) / exact - 1));
  }
  for (float x = -80.0f; x < 80.0f; x += 0.0137f) {
    const double exact = 1 / (1 + std::exp(-double{x}));
    // log2(e) x is rounded, and log2(e) is: 2^-24 of it each.
    const double off = 0x1p-22 + 2 * std::abs(double{x}) * kEps;
    worst_sigmoid =
        std::max(worst_sigmoid, std::abs(cuda::sigmoid_fast(x) / exact - 1) / (off + 2 * kEps));
  }
  CHECK(worst_power < 0x1p-22);
  CHECK(worst_sigmoid <= 1);
  CHECK(cuda::exp2_fast(-125.01f) == 0);
  CHECK(cuda::exp2_fast(-3.4e38f) == 0);
  CHECK(std::isinf(cuda::exp2_fast(128)));
  CHECK(std::isnan(cuda::exp2_fast(std::nanf(""))));
  CHECK(cuda::exp2_fast(0) == 1);
}
