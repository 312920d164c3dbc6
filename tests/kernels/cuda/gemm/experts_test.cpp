// Runs on the emulator.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "cuda_emulator/emulator.h"
#include "kernels/cuda/gemm/gemm.h"
#include "support/device_array.h"
#include "support/packed_weights.h"

namespace mm2::kernels::cuda {
namespace {

using support::DeviceArray;
using support::PackedWeights;

struct Experts {
  std::vector<std::unique_ptr<PackedWeights>> gate, up, down;
  std::vector<std::unique_ptr<DeviceArray<uint32_t>>> device;
  std::vector<DeviceExpert> views;
  int64_t hidden, intermediate;

  Experts(const Format& f, int32_t n, int64_t hidden_, int64_t intermediate_)
      : hidden(hidden_), intermediate(intermediate_) {
    const auto view = [&](const PackedWeights& w, float scale) {
      device.push_back(std::make_unique<DeviceArray<uint32_t>>(w.packed));
      return DeviceMatrix{w.layout, reinterpret_cast<const char*>(device.back()->get()), scale, 0};
    };
    for (int32_t e = 0; e < n; ++e) {
      const auto seed = static_cast<uint32_t>(e * 3 + 1);
      gate.push_back(std::make_unique<PackedWeights>(f, intermediate, hidden, seed));
      up.push_back(std::make_unique<PackedWeights>(f, intermediate, hidden, seed + 1));
      down.push_back(std::make_unique<PackedWeights>(f, hidden, intermediate, seed + 2));
      // Gates around 1, where silu bends.
      views.push_back(
          {view(*gate.back(), 0.125f), view(*up.back(), 0.25f), view(*down.back(), 1.0f)});
    }
  }
};

struct Tokens {
  std::vector<float> x, weights, h;
  std::vector<int32_t> ids;
};

Tokens random_tokens(int32_t n, int32_t n_experts, int32_t top_k, int64_t hidden) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  Tokens t;
  for (int64_t i = 0; i < n * hidden; ++i) {
    t.x.push_back(normal(random));
    t.h.push_back(normal(random));
  }
  for (int32_t i = 0; i < n; ++i) {
    std::vector<int32_t> all;
    for (int32_t e = 0; e < n_experts; ++e) all.push_back(e);
    std::shuffle(all.begin(), all.end(), random);
    std::sort(all.begin(), all.begin() + top_k);
    t.ids.insert(t.ids.end(), all.begin(), all.begin() + top_k);
    for (int32_t k = 0; k < top_k; ++k)
      t.weights.push_back(static_cast<float>(random() % 100) / 100.0f);
  }
  return t;
}

/// h of tokens [first, first + n).
std::vector<float> run(const Experts& e, const Tokens& t, int32_t first, int32_t n, int32_t top_k,
                       int32_t n_processors) {
  const auto n_experts = static_cast<int32_t>(e.views.size());
  std::vector<float> h(t.h.begin() + first * e.hidden, t.h.begin() + (first + n) * e.hidden);
  const DeviceArray<uint8_t> scratch(
      static_cast<size_t>(experts_scratch_bytes(n, top_k, n_experts, e.hidden, e.intermediate)));
  ExpertsProduct p{};
  p.gate = e.gate[0]->layout;
  p.down = e.down[0]->layout;
  p.gate_cut = {1, 2};
  p.down_cut = {2, 1};
  p.experts = e.views.data();
  p.n_experts = n_experts;
  p.top_k = top_k;
  p.n_tokens = n;
  p.hidden = e.hidden;
  p.intermediate = e.intermediate;
  p.x = t.x.data() + first * e.hidden;
  p.ids = t.ids.data() + first * top_k;
  p.weights = t.weights.data() + first * top_k;
  p.h = h.data();
  p.scratch = scratch.get();
  REQUIRE(experts_product(p, n_processors, nullptr) == cudaSuccess);
  REQUIRE(std::string(cuda_emulator::last_failure()) == "");
  return h;
}

struct Dot {
  double sum, size;
};
template <typename X>
Dot dot(const PackedWeights& w, int64_t row, const X& x) {
  Dot d{0, 0};
  for (int64_t k = 0; k < w.layout.n_in; ++k) {
    const double product = w.number(row, k) * x(k);
    d.sum += product;
    d.size += std::fabs(product);
  }
  return d;
}

}  // namespace

TEST_CASE("experts: each token gets the share of its experts") {
  constexpr int32_t kExperts = 5, kTopK = 2, kTokens = 11;
  constexpr int64_t kHidden = 200, kInner = 192;
  for (const int format : {0, 1, 3, 6, 11, 12}) {
    const support::WeightCase& c = support::kWeightCases[format];
    INFO(c.name);
    const Experts e(c.format, kExperts, kHidden, kInner);
    const Tokens t = random_tokens(kTokens, kExperts, kTopK, kHidden);
    const std::vector<float> h = run(e, t, 0, kTokens, kTopK, 3);
    double worst = 0;
    for (int64_t token = 0; token < kTokens; ++token) {
      std::vector<double> sums(kHidden), bounds(kHidden);
      for (int64_t i = 0; i < kTopK; ++i) {
        const auto pair = static_cast<size_t>(token * kTopK + i);
        const auto id = static_cast<size_t>(t.ids[pair]);
        const auto x = [&](int64_t k) {
          return double{bf16_to_f32(f32_to_bf16(t.x[static_cast<size_t>(token * kHidden + k)]))};
        };
        std::vector<double> inner(kInner), off(kInner);
        for (int64_t m = 0; m < kInner; ++m) {
          const Dot gate = dot(*e.gate[id], m, x), up = dot(*e.up[id], m, x);
          const double g = gate.sum * 0.125, u = up.sum * 0.25;
          const double silu = g / (1 + std::exp(-g));
          inner[static_cast<size_t>(m)] = silu * u;
          // The products' roundings as in dense products, where silu is at most 1.1 times as steep; its
          // own, 2^-20 of it; and half a last place of BF16.
          const double eps = 40 * 0x1p-24;
          off[static_cast<size_t>(m)] =
              eps * (1.1 * gate.size * 0.125 * std::fabs(u) + std::fabs(silu) * up.size * 0.25) +
              (0x1p-20 + 0x1.02p-8) * std::fabs(silu * u);
        }
        for (int64_t row = 0; row < kHidden; ++row) {
          const Dot down =
              dot(*e.down[id], row, [&](int64_t k) { return inner[static_cast<size_t>(k)]; });
          double moved = 0;
          for (int64_t k = 0; k < kInner; ++k) {
            moved += std::fabs(e.down[id]->number(row, k)) * off[static_cast<size_t>(k)];
          }
          const double share = double{t.weights[pair]};
          sums[static_cast<size_t>(row)] += share * down.sum;
          bounds[static_cast<size_t>(row)] += share * (moved + 44 * 0x1p-24 * down.size);
        }
      }
      for (int64_t row = 0; row < kHidden; ++row) {
        const auto at = static_cast<size_t>(token * kHidden + row);
        const double before = double{t.h[at]},
                     bound = bounds[static_cast<size_t>(row)] + 0x1p-22 * std::fabs(before);
        worst =
            std::fmax(worst, std::fabs(h[at] - before - sums[static_cast<size_t>(row)]) / bound);
      }
    }
    CHECK(worst <= 1);
  }
}

TEST_CASE("experts: a token's bits depend neither on the others nor on the processors") {
  constexpr int32_t kExperts = 4, kTopK = 3, kTokens = 30;
  constexpr int64_t kHidden = 192, kInner = 128;
  const Experts e(support::kWeightCases[3].format, kExperts, kHidden, kInner);
  const Tokens t = random_tokens(kTokens, kExperts, kTopK, kHidden);
  const std::vector<float> all = run(e, t, 0, kTokens, kTopK, 3);
  CHECK(all == run(e, t, 0, kTokens, kTopK, 132));
  for (const int32_t first : {0, 7, 29}) {
    const std::vector<float> one = run(e, t, first, 1, kTopK, 1);
    for (size_t i = 0; i < one.size(); ++i) {
      REQUIRE(bits_of(one[i]) == bits_of(all[static_cast<size_t>(first * kHidden) + i]));
    }
  }
}

TEST_CASE("experts: scratch grows with the tokens and ends where they are cut") {
  int64_t before = 0;
  for (const int64_t n : {1, 2, 9, 100, 333, 2000, 4096}) {
    const int64_t bytes = experts_scratch_bytes(n, 8, 192, 3072, 1536);
    CHECK(bytes >= before);
    before = bytes;
  }
  CHECK(experts_scratch_bytes(100000, 8, 192, 3072, 1536) == before);
}

}  // namespace mm2::kernels::cuda
