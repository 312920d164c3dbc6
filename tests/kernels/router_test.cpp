#include "kernels/support.h"

using namespace support;

namespace {

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

Routed run(const Backend& backend, const ModelShape& s, const Weights& gate,
           const std::vector<float>& bias, const std::vector<float>& x, int32_t n_workers = 1) {
  const auto n_tokens = static_cast<int32_t>(x.size()) / s.hidden;
  const Workers workers(n_workers);
  const Memory scratch(backend.ops->scratch_bytes(&s, n_tokens, n_workers));
  Routed r{std::vector<int32_t>(static_cast<size_t>(n_tokens * s.top_k)), {}};
  r.weights.resize(r.ids.size());
  const Matrix* w = backend.keeps_file_layout ? &gate.ref : &gate.generic;
  const RouterArgs<float> args{
      &s, x.data(), w, bias.data(), n_tokens, r.ids.data(), r.weights.data(), scratch.get()};
  backend.ops->router(workers.get(), &args);
  return r;
}

/// One token of hidden 1; the weights of the experts are their logits.
Routed route_logits(const Backend& backend, const std::vector<float>& logits,
                    const std::vector<float>& bias, int32_t top_k) {
  ModelShape s = odd_shape();
  s.hidden = 1;
  s.n_experts = static_cast<int32_t>(logits.size());
  s.top_k = top_k;
  const Weights gate(logits, s.n_experts, 1, kF32);
  return run(backend, s, gate, bias, {1.0f});
}

const std::vector<const Backend*> kBackends = {reference_backend(), tested_backend()};

}  // namespace

TEST_CASE("router: ties go to the lower expert id") {
  for (const Backend* backend : kBackends) {
    INFO(backend->name);
    const Routed r = route_logits(*backend, {1, 2, 2, 1, 2, 2}, std::vector<float>(6), 3);
    CHECK(r.ids == std::vector<int32_t>{1, 2, 4});
  }
}

TEST_CASE("router: the bias selects but does not weigh") {
  for (const Backend* backend : kBackends) {
    INFO(backend->name);
    const Routed r = route_logits(*backend, {3, 0, 0, 0}, {0, 0, 5, 0}, 2);
    CHECK(r.ids == std::vector<int32_t>{0, 2});
    const double high = 1 / (1 + std::exp(-3.0)), low = 0.5;
    CHECK(r.weights[0] == Approx(high / (high + low)).epsilon(1e-6));
    CHECK(r.weights[1] == Approx(low / (high + low)).epsilon(1e-6));
  }
}

TEST_CASE("router: all experts at once, in ascending id") {
  for (const Backend* backend : kBackends) {
    const Routed r = route_logits(*backend, {0, 3, -2}, std::vector<float>(3), 3);
    CHECK(r.ids == std::vector<int32_t>{0, 1, 2});
    CHECK(double{r.weights[0]} + r.weights[1] + r.weights[2] == Approx(1.0).epsilon(1e-6));
  }
}

TEST_CASE("router: a row that is not finite still gets different experts of the model") {
  for (const Backend* backend : kBackends) {
    for (const float odd : {NAN, INFINITY, -INFINITY}) {
      const Routed r = route_logits(*backend, {odd, 1, odd, 2, odd}, std::vector<float>(5), 4);
      for (size_t i = 0; i < 4; ++i) {
        CHECK((r.ids[i] >= 0 && r.ids[i] < 5));
        CHECK((i == 0 || r.ids[i] > r.ids[i - 1]));
      }
    }
  }
}

TEST_CASE("router: generic and reference select alike, weights differ by roundings") {
  Random random(1);
  ModelShape s = odd_shape();
  s.n_experts = 70;
  s.top_k = 8;
  const Weights gate(random, s.n_experts, s.hidden, kF32, 0.3f);
  const auto bias = random.vector(s.n_experts, 0.1f);
  const auto x = random.vector(130 * s.hidden);
  const Routed a = run(*reference_backend(), s, gate, bias, x);
  const Routed b = run(*tested_backend(), s, gate, bias, x, 2);
  // The logits have the same bits; only exp differs, by 2e-7 of itself. A selection can turn on
  // that where two scores are as close; here none are.
  CHECK(a.ids == b.ids);
  for (size_t i = 0; i < a.weights.size(); ++i) {
    CHECK(std::abs(a.weights[i] - b.weights[i]) <= 2e-6f * a.weights[i]);
  }
}

TEST_CASE("router: a token's bits do not depend on the others, nor on workers") {
  Random random(2);
  const ModelShape s = odd_shape();
  const Weights gate(random, s.n_experts, s.hidden, kF32, 0.3f);
  const auto bias = random.vector(s.n_experts, 0.1f);
  const auto x = random.vector(40 * s.hidden);
  const Routed all = run(*tested_backend(), s, gate, bias, x, 3);
  for (int32_t t = 0; t < 40; ++t) {
    const auto from = x.begin() + t * s.hidden;
    const Routed one = run(*tested_backend(), s, gate, bias, {from, from + s.hidden});
    for (int32_t i = 0; i < s.top_k; ++i) {
      const auto at = static_cast<size_t>(t * s.top_k + i);
      CHECK(one.ids[static_cast<size_t>(i)] == all.ids[at]);
      CHECK(bits_of(one.weights[static_cast<size_t>(i)]) == bits_of(all.weights[at]));
    }
  }
}
