#include "kernels/support.h"

using namespace support;

namespace {

struct Layer {
  ModelShape s;
  std::vector<std::unique_ptr<Weights>> matrices;
  std::vector<ExpertWeights> generic, ref;

  Layer(Random& random, const ModelShape& shape, int32_t number) : s(shape) {
    const auto make = [&](int64_t n_out, int64_t n_in) {
      matrices.push_back(std::make_unique<Weights>(random, n_out, n_in, number, 0.2f));
    };
    for (int32_t e = 0; e < s.n_experts; ++e) {
      make(s.intermediate, s.hidden);
      make(s.intermediate, s.hidden);
      make(s.hidden, s.intermediate);
      const auto* m = &matrices[matrices.size() - 3];
      generic.push_back({m[0]->generic, m[1]->generic, m[2]->generic});
      ref.push_back({m[0]->ref, m[1]->ref, m[2]->ref});
    }
  }
};

struct Input {
  std::vector<float> x, h, weights;
  std::vector<int32_t> ids;
};

Input make_input(Random& random, const ModelShape& s, int32_t n_tokens) {
  Input in{random.vector(n_tokens * s.hidden), random.vector(n_tokens * s.hidden), {}, {}};
  for (int32_t t = 0; t < n_tokens; ++t) {
    std::vector<int32_t> all(static_cast<size_t>(s.n_experts));
    for (int32_t e = 0; e < s.n_experts; ++e) all[static_cast<size_t>(e)] = e;
    for (size_t i = all.size() - 1; i > 0; --i) std::swap(all[i], all[random.bits() % (i + 1)]);
    std::sort(all.begin(), all.begin() + s.top_k);
    in.ids.insert(in.ids.end(), all.begin(), all.begin() + s.top_k);
    for (int32_t i = 0; i < s.top_k; ++i) in.weights.push_back(std::abs(random.normal()));
  }
  return in;
}

std::vector<float> run_generic(const Layer& layer, const Input& in, int32_t first, int32_t n_tokens,
                               int32_t activations, int32_t n_workers) {
  const ModelShape& s = layer.s;
  const Memory scratch = scratch_for(s, n_tokens, n_workers);
  std::vector<float> h(in.h.begin() + first * s.hidden,
                       in.h.begin() + (first + n_tokens) * s.hidden);
  const ExpertsArgs<float> args{&s,
                                in.x.data() + first * s.hidden,
                                layer.generic.data(),
                                in.ids.data() + first * s.top_k,
                                in.weights.data() + first * s.top_k,
                                n_tokens,
                                activations,
                                h.data(),
                                scratch.get()};
  tested_backend()->ops->experts(Workers(n_workers).get(), &args);
  return h;
}

template <typename Real>
std::vector<Real> run_ref(const Layer& layer, const Input& in, int32_t activations) {
  const ModelShape& s = layer.s;
  const std::vector<Real> x(in.x.begin(), in.x.end()), w(in.weights.begin(), in.weights.end());
  std::vector<Real> h(in.h.begin(), in.h.end());
  std::vector<Real> scratch(static_cast<size_t>(s.intermediate + 2 * s.hidden));
  const ExpertsArgs<Real> args{&s,
                               x.data(),
                               layer.ref.data(),
                               in.ids.data(),
                               w.data(),
                               static_cast<int32_t>(in.ids.size()) / s.top_k,
                               activations,
                               h.data(),
                               scratch.data()};
  ref::experts(Workers(1).get(), &args);
  return h;
}

double worst_error(const std::vector<float>& got, const std::vector<double>& exact) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::abs(double{got[i]} - exact[i]));
  }
  return worst;
}

// The greatest sum of magnitudes that any output of the layer is made of.
double magnitude(const Layer& layer, const Input& in) {
  const ModelShape& s = layer.s;
  double most = 0;
  for (size_t t = 0; t < in.ids.size() / static_cast<size_t>(s.top_k); ++t) {
    double sum = 0;
    for (int32_t i = 0; i < s.top_k; ++i) {
      const size_t pair = t * static_cast<size_t>(s.top_k) + static_cast<size_t>(i);
      const auto* m = &layer.matrices[3 * static_cast<size_t>(in.ids[pair])];
      std::vector<double> inner;
      for (int64_t r = 0; r < s.intermediate; ++r) {
        double gate = 0, up = 0;
        for (int32_t k = 0; k < s.hidden; ++k) {
          const double x =
              std::abs(in.x[t * static_cast<size_t>(s.hidden) + static_cast<size_t>(k)]);
          gate += std::abs(m[0]->at(r, k)) * x;
          up += std::abs(m[1]->at(r, k)) * x;
        }
        inner.push_back(gate * up);
      }
      double row_most = 0;
      for (int64_t r = 0; r < s.hidden; ++r) {
        double row = 0;
        for (int64_t k = 0; k < s.intermediate; ++k) {
          row += std::abs(m[2]->at(r, k)) * inner[static_cast<size_t>(k)];
        }
        row_most = std::max(row_most, row);
      }
      sum += in.weights[pair] * row_most;
    }
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace

TEST_CASE("experts: the error against FP64 stays within the roundings of three products") {
  Random random(1);
  for (const int32_t number : {kF32, kBF16, kF16}) {
    const Layer layer(random, odd_shape(), number);
    const Input in = make_input(random, layer.s, 5);
    // Each path through gate, up and down is a product of three chains; the slope of SiLU is at
    // most 1.1.
    const double roundings = 1.1 * (2 * layer.s.hidden + layer.s.intermediate + 16);
    INFO("number " << number);
    CHECK(worst_error(run_generic(layer, in, 0, 5, kF32, 1), run_ref<double>(layer, in, kF64)) <=
          roundings * kEps * magnitude(layer, in));
    // With BF16 activations an F32 reference that rounds at the same places: a value on the edge
    // between two BF16 may go either way, which is 2^-8 of it, times a few of them at most.
    const auto rounded = run_ref<float>(layer, in, kBF16);
    CHECK(worst_error(run_generic(layer, in, 0, 5, kBF16, 1), widened(rounded)) <=
          (roundings * kEps + 0x1p-8 / layer.s.intermediate) * magnitude(layer, in));
  }
}

TEST_CASE("experts: a token's bits do not depend on the others, nor on workers") {
  Random random(2);
  for (const int32_t number : {kF32, kBF16, kF16}) {
    const Layer layer(random, odd_shape(), number);
    constexpr int32_t kTokens = 201;  // more than 64 for an expert
    const Input in = make_input(random, layer.s, kTokens);
    const auto all = run_generic(layer, in, 0, kTokens, kBF16, 3);
    CHECK(same_bits(all, run_generic(layer, in, 0, kTokens, kBF16, 1)));
    for (int32_t t = 0; t < kTokens; t += 1 + t % 7) {
      const auto from = all.begin() + t * layer.s.hidden;
      INFO("number " << number << " token " << t);
      CHECK(same_bits(run_generic(layer, in, t, 1, kBF16, 2), {from, from + layer.s.hidden}));
    }
  }
}

TEST_CASE("experts: all of them selected, or only one there") {
  Random random(3);
  for (const int32_t n_experts : {1, 4}) {
    ModelShape s = odd_shape();
    s.n_experts = s.top_k = n_experts;
    const Layer layer(random, s, kF32);
    const Input in = make_input(random, s, 3);
    const double bound = 1.1 * (2 * s.hidden + s.intermediate + 16) * kEps * magnitude(layer, in);
    CHECK(worst_error(run_generic(layer, in, 0, 3, kF32, 2), run_ref<double>(layer, in, kF64)) <=
          bound);
  }
}

TEST_CASE("experts: NaN stays with its token") {
  Random random(4);
  const Layer layer(random, odd_shape(), kBF16);
  Input in = make_input(random, layer.s, 6);
  const auto clean = run_generic(layer, in, 0, 6, kBF16, 1);
  in.x[static_cast<size_t>(2 * layer.s.hidden)] = NAN;
  const auto y = run_generic(layer, in, 0, 6, kBF16, 2);
  for (size_t i = 0; i < y.size(); ++i) {
    const bool own = i / static_cast<size_t>(layer.s.hidden) == 2;
    CHECK((own ? std::isnan(y[i]) : y[i] == clean[i]));
  }
}
