// Activations as integers of 8 bits (kI8): what they lose, and where they do not apply.
#include "kernels/support.h"

using namespace support;

namespace {

ModelShape shape_of(int64_t n_in) {
  ModelShape s = odd_shape();
  s.hidden = static_cast<int32_t>(n_in);
  return s;
}

std::vector<float> run(const Weights& w, const std::vector<float>& x, int32_t activations,
                       int32_t n_workers = 1) {
  const auto n_tokens = static_cast<int32_t>(static_cast<int64_t>(x.size()) / w.ref.n_in);
  const Memory scratch = scratch_for(shape_of(w.ref.n_in), n_tokens, n_workers);
  std::vector<float> y(static_cast<size_t>(n_tokens * w.ref.n_out));
  const LinearArgs<float> args{x.data(),    &w.generic, nullptr,      n_tokens,
                               activations, y.data(),   scratch.get()};
  tested_backend()->ops->linear(Workers(n_workers).get(), &args);
  return y;
}

std::vector<float> run_ref(const Weights& w, const std::vector<float>& x, int32_t activations) {
  const auto n_tokens = static_cast<int32_t>(static_cast<int64_t>(x.size()) / w.ref.n_in);
  std::vector<float> y(static_cast<size_t>(n_tokens * w.ref.n_out)), scratch(x.size());
  const LinearArgs<float> args{x.data(),    &w.ref,   nullptr,       n_tokens,
                               activations, y.data(), scratch.data()};
  ref::linear(Workers(1).get(), &args);
  return y;
}

// The activations of a group of 128 packed columns.
std::vector<float> group_of(const std::vector<float>& x, int64_t k0) {
  const auto from = x.begin() + k0;
  return {from, from + std::min<int64_t>(kSumGroup, x.end() - from)};
}

float size_of(const std::vector<float>& x) {
  float size = 0;
  for (const float one : x) size = std::max(size, std::abs(one));
  return size;
}

}  // namespace

TEST_CASE("int8: an output is off by half a step of each activation, and a few roundings") {
  Random random(1);
  for (const int64_t n_in : {1, 63, 128, 129, 520}) {
    for (const NamedFormat& named : all_formats(65, n_in)) {
      const Format& f = named.format;
      if (f.scheme != kInteger || f.ordered != 0) continue;
      const Weights w(random, 65, n_in, f);
      auto x = random.vector(n_in);
      for (int64_t k = 0; k < n_in; k += 37) x[static_cast<size_t>(k)] *= 9.0f;
      const auto y = run(w, x, kI8);
      double worst = 0;
      for (int64_t row = 0; row < 65; ++row) {
        double exact = 0, bound = 0, sizes = 0;
        for (int64_t k0 = 0; k0 < n_in; k0 += kSumGroup) {
          const auto group = group_of(x, k0);
          const double half = double{size_of(group)} / 254;
          for (size_t i = 0; i < group.size(); ++i) {
            const double weight = w.at(row, k0 + static_cast<int64_t>(i));
            exact += weight * double{group[i]};
            // 127 / size, its product and the scale are rounded: three parts in 2^24 of 127 codes.
            bound += std::abs(weight) * half * (1 + 2 * 127 * 3 * kEps);
            sizes += std::abs(weight) * (std::abs(double{group[i]}) + half);
          }
        }
        // Each sum group: the product of the scales, that with the sum, the addition.
        const double roundings = static_cast<double>(2 + n_in / 32 + 1);
        const double error = std::abs(double{y[static_cast<size_t>(row)]} - exact);
        worst = std::max(worst, error / (bound + roundings * kEps * sizes));
      }
      INFO("w [65, " << n_in << "] " << named.name);
      CHECK(worst <= 1.0);
      // The bound is no wide one: an error of a tenth of it is really there.
      if (n_in >= 63) CHECK(worst >= 0.01);
    }
  }
}

TEST_CASE("int8: the mean square of errors is a twelfth of the square of a step") {
  Random random(5);
  constexpr int64_t kTokens = 24, kIn = 512, kOut = 128;
  const Weights w(random, kOut, kIn, Format{kInteger, kF16, 4, 0, 0, 1, 128}, 0.1f);
  const auto x = random.vector(kTokens * kIn);
  const auto y = run(w, x, kI8), exact = run(w, x, kF32);
  std::vector<double> weights;
  for (int64_t row = 0; row < kOut; ++row) {
    for (int64_t k = 0; k < kIn; ++k) weights.push_back(w.at(row, k));
  }
  double expected = 0, found = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t k0 = 0; k0 < kIn; k0 += kSumGroup) {
      const auto from = x.begin() + t * kIn + k0;
      const double step = double{size_of({from, from + kSumGroup})} / 127;
      for (int64_t row = 0; row < kOut; ++row) {
        for (int64_t k = k0; k < k0 + kSumGroup; ++k) {
          const double weight = weights[static_cast<size_t>(row * kIn + k)];
          expected += weight * weight * step * step / 12;
        }
      }
    }
  }
  for (size_t i = 0; i < y.size(); ++i) {
    found += (double{y[i]} - double{exact[i]}) * (double{y[i]} - double{exact[i]});
  }
  // 24 * 512 roundings that know nothing of each other: their squares add up to within 2 / sqrt of
  // that, 2 %; five times as much is allowed.
  CHECK(found / expected == Approx(1).margin(0.1));
}

TEST_CASE("int8: activations that are codes already lose nothing") {
  Random random(2);
  for (const NamedFormat& named : all_formats(70, 384)) {
    const Format& f = named.format;
    if (f.scheme != kInteger) continue;
    const Weights w(random, 70, 384, f, 0.1f);
    std::vector<float> x(384);
    for (float& one : x) one = static_cast<float>(static_cast<int32_t>(random.bits() % 255) - 127);
    // Every group of columns, in any order, shall have the greatest code.
    for (float& one : x) one = std::abs(one) > 100 ? 127.0f : one;
    const auto y = run(w, x, kI8), exact = run(w, x, kBF16);
    for (size_t i = 0; i < y.size(); ++i) {
      double size = 0;
      for (int64_t k = 0; k < 384; ++k) {
        size += w.size_at(static_cast<int64_t>(i), k) * 127;
      }
      INFO(named.name << " output " << i);
      // Both have the same sums of integers; they differ in the order of roundings alone.
      CHECK(std::abs(double{y[i]} - double{exact[i]}) <= 64 * kEps * size);
    }
  }
}

TEST_CASE("int8: weights that are no integers meet activations of BF16") {
  Random random(3);
  for (const NamedFormat& named : all_formats(130, 200)) {
    const Weights w(random, 130, 200, named.format);
    const auto x = random.vector(3 * 200);
    INFO(named.name);
    const bool same = same_bits(run(w, x, kI8, 2), run(w, x, kBF16, 2));
    CHECK(same == (named.format.scheme != kInteger));
  }
}

TEST_CASE(
    "int8: zeros, tiny and huge activations have an answer, NaN and infinity stay in their row") {
  Random random(4);
  for (const NamedFormat& named : all_formats(65, 300)) {
    if (named.format.scheme != kInteger) continue;
    const Weights w(random, 65, 300, named.format, 0.01f);
    auto x = random.vector(7 * 300);
    const auto row = [&](int32_t t) { return x.begin() + t * 300; };
    std::fill(row(1), row(2), 0.0f);
    for (auto one = row(2); one != row(3); ++one) *one *= 0x1p-104f;
    for (auto one = row(3); one != row(4); ++one) *one *= 0x1p120f;
    row(4)[150] = NAN;
    row(5)[299] = -INFINITY;
    const auto y = run(w, x, kI8);
    INFO(named.name);
    for (int32_t t = 0; t < 7; ++t) {
      for (int32_t i = 0; i < 65; ++i) {
        const float one = y[static_cast<size_t>(65 * t + i)];
        if (t == 4 || t == 5) {
          CHECK(std::isnan(one));
        } else {
          CHECK(std::isfinite(one));
        }
        if (t == 1 || t == 2) CHECK(one == 0.0f);
      }
    }
    // The others are what the reference computes.
    x.erase(row(4), row(6));
    CHECK(same_bits(run(w, x, kI8), run_ref(w, x, kI8)));
  }
}
