#include "kernels/support.h"

using namespace support;

namespace {

struct Case {
  int64_t n_out, n_in;
};
const std::vector<Case> kCases = {{1, 1}, {64, 64}, {65, 63}, {130, 70}, {37, 129}, {192, 256}};

ModelShape shape_of(const Case& c) {
  ModelShape s = odd_shape();
  s.hidden = static_cast<int32_t>(c.n_in);
  return s;
}

std::vector<float> run_generic(const Weights& w, const std::vector<float>& x, int32_t n_tokens,
                               int32_t activations, const float* add, int32_t n_workers) {
  const Workers workers(n_workers);
  const Memory scratch = scratch_for(shape_of({w.ref.n_out, w.ref.n_in}), n_tokens, n_workers);
  std::vector<float> y(static_cast<size_t>(n_tokens * w.ref.n_out));
  const LinearArgs<float> args{x.data(),    &w.generic, add,          n_tokens,
                               activations, y.data(),   scratch.get()};
  tested_backend()->ops->linear(workers.get(), &args);
  return y;
}

template <typename Real>
std::vector<Real> run_ref(const Weights& w, const std::vector<Real>& x, int32_t n_tokens,
                          int32_t activations, const Real* add) {
  const Workers workers(1);
  std::vector<Real> y(static_cast<size_t>(n_tokens * w.ref.n_out)), scratch(x.size());
  const LinearArgs<Real> args{x.data(),    &w.ref,   add,           n_tokens,
                              activations, y.data(), scratch.data()};
  ref::linear(workers.get(), &args);
  return y;
}

}  // namespace

TEST_CASE("linear: the generic kernel and the reference add in the same order, to the last bit") {
  Random random(1);
  for (const Case& c : kCases) {
    for (const NamedFormat& named : all_formats(c.n_out, c.n_in)) {
      const Weights w(random, c.n_out, c.n_in, named.format);
      for (const int32_t activations : {kBF16, kF32, kI8}) {
        for (const int32_t n_tokens : {1, 2, 5, 67}) {
          const auto x = random.vector(n_tokens * c.n_in);
          const auto add = random.vector(n_tokens * c.n_out);
          INFO("w [" << c.n_out << ", " << c.n_in << "] " << named.name << ", activations "
                     << activations << ", tokens " << n_tokens);
          CHECK(same_bits(run_generic(w, x, n_tokens, activations, add.data(), 2),
                          run_ref(w, x, n_tokens, activations, add.data())));
        }
      }
    }
  }
}

TEST_CASE("linear: the error against FP64 is of a few roundings for each product") {
  Random random(2);
  for (const Case& c : kCases) {
    for (const NamedFormat& named : all_formats(c.n_out, c.n_in)) {
      Weights w(random, c.n_out, c.n_in, named.format);
      if (named.format.scheme == kFp4) w.set_output(0.3f, c.n_out % 2 == 0);
      const auto x = random.vector(3 * c.n_in);
      const auto y = run_generic(w, x, 3, kF32, nullptr, 1);
      const auto exact = run_ref<double>(w, widened(x), 3, kF64, nullptr);
      double worst = 0;
      for (int64_t t = 0; t < 3; ++t) {
        for (int64_t row = 0; row < c.n_out; ++row) {
          double size = 0;
          for (int64_t k = 0; k < c.n_in; ++k) {
            size += w.size_at(row, k) * std::abs(double{x[static_cast<size_t>(t * c.n_in + k)]});
          }
          const auto i = static_cast<size_t>(t * c.n_out + row);
          // One rounding of each product and of each addition; those of the scale, of the sum with
          // it, of the start below zero (product, and its own n_in additions), of the output.
          const double n = static_cast<double>(c.n_in);
          const double roundings = named.format.zeros != 0 ? 2 * n + 5 : n + 4;
          worst = std::max(worst, std::abs(double{y[i]} - exact[i]) / (roundings * kEps * size));
        }
      }
      INFO("w [" << c.n_out << ", " << c.n_in << "] " << named.name);
      CHECK(worst <= 1.0);
    }
  }
}

TEST_CASE("linear: a row's bits do not depend on how many rows there are, nor on workers") {
  Random random(3);
  const Case c{130, 71};
  for (const NamedFormat& named : all_formats(c.n_out, c.n_in)) {
    const Weights w(random, c.n_out, c.n_in, named.format);
    constexpr int32_t kMost = 37;
    const auto x = random.vector(kMost * c.n_in);
    for (const int32_t activations : {kBF16, kI8}) {
      const auto one_by_one = [&](int32_t t) {
        const auto from = x.begin() + t * c.n_in;
        return run_generic(w, {from, from + c.n_in}, 1, activations, nullptr, 1);
      };
      std::vector<float> expected;
      for (int32_t t = 0; t < kMost; ++t) {
        const auto y = one_by_one(t);
        expected.insert(expected.end(), y.begin(), y.end());
      }
      for (int32_t n = 1; n <= kMost; ++n) {
        const std::vector<float> some(x.begin(), x.begin() + n * c.n_in);
        const std::vector<float> want(expected.begin(), expected.begin() + n * c.n_out);
        INFO(named.name << ", activations " << activations << ", " << n << " rows");
        CHECK(same_bits(run_generic(w, some, n, activations, nullptr, 1 + n % 3), want));
      }
    }
  }
}

TEST_CASE("linear: what an output is multiplied or divided by comes last") {
  Random random(6);
  Weights w(random, 65, 48, Format{kFp4, kE4M3, 4, 0, 0, 1, 16});
  const auto x = random.vector(2 * 48);
  const auto before = run_generic(w, x, 2, kBF16, nullptr, 1);
  for (const bool divides : {false, true}) {
    w.set_output(0.3f, divides);
    const auto after = run_generic(w, x, 2, kBF16, nullptr, 1);
    for (size_t i = 0; i < after.size(); ++i) {
      CHECK(after[i] == (divides ? before[i] / 0.3f : before[i] * 0.3f));
    }
  }
}

TEST_CASE("linear: NaN and infinity stay in their own row") {
  Random random(4);
  const Weights w(random, 70, 33, kBF16);
  auto x = random.vector(6 * 33);
  const auto clean = run_generic(w, x, 6, kBF16, nullptr, 1);
  x[33 * 2 + 5] = NAN;
  x[33 * 4] = INFINITY;
  const auto y = run_generic(w, x, 6, kBF16, nullptr, 1);
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t t = i / 70;
    if (t == 2 || t == 4) {
      CHECK_FALSE(std::isfinite(y[i]));
    } else {
      CHECK(y[i] == clean[i]);
    }
  }
}

TEST_CASE("linear: y may be the same as add") {
  Random random(5);
  const Weights w(random, 65, 20, kF32);
  const auto x = random.vector(3 * 20);
  auto y = random.vector(3 * 65);
  const auto expected = run_generic(w, x, 3, kF32, y.data(), 1);
  const Workers workers(2);
  const Memory scratch = scratch_for(shape_of({65, 20}), 3, 2);
  const LinearArgs<float> args{x.data(), &w.generic, y.data(), 3, kF32, y.data(), scratch.get()};
  tested_backend()->ops->linear(workers.get(), &args);
  CHECK(same_bits(y, expected));
}
