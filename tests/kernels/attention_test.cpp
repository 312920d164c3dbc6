#include "kernels/cache.h"

using namespace support;

namespace {

ModelShape shape_of(int32_t n_heads, int32_t n_kv_heads, int32_t head_dim) {
  ModelShape s = odd_shape();
  s.n_heads = n_heads;
  s.n_kv_heads = n_kv_heads;
  s.head_dim = head_dim;
  return s;
}

// The same random K and V of n_positions in both caches; NaN after them.
void fill(Random& random, const ModelShape& s, int32_t n_positions, const Cache& a,
          const Cache& b) {
  for (int64_t p = 0; p < n_positions; ++p) {
    for (int32_t head = 0; head < s.n_kv_heads; ++head) {
      for (int32_t d = 0; d < s.head_dim; ++d) {
        for (const bool is_value : {false, true}) {
          const float x = random.normal();
          a.put(p, head, d, is_value, x);
          b.put(p, head, d, is_value, x);
        }
      }
    }
  }
}

std::vector<float> run_generic(const ModelShape& s, const Cache& cache, const std::vector<float>& q,
                               int32_t first_position, int32_t n_workers) {
  const auto n_tokens = static_cast<int32_t>(q.size()) / (s.n_heads * s.head_dim);
  const StepRow row = cache.row(0, n_tokens, first_position);
  const Memory scratch = scratch_for(s, n_tokens, n_workers);
  std::vector<float> y(q.size());
  const AttentionArgs<float> args{&s, q.data(), &row,         1, n_tokens, &cache.kv,
                                  0,  y.data(), scratch.get()};
  generic_backend()->ops->attention(Workers(n_workers).get(), &args);
  return y;
}

std::vector<double> run_exact(const ModelShape& s, const Cache& cache, const std::vector<float>& q,
                              int32_t first_position) {
  const auto n_tokens = static_cast<int32_t>(q.size()) / (s.n_heads * s.head_dim);
  const StepRow row = cache.row(0, n_tokens, first_position);
  const auto wide = widened(q);
  std::vector<double> y(q.size());
  const AttentionArgs<double> args{&s,        wide.data(), &row,     1,      n_tokens,
                                   &cache.kv, 0,           y.data(), nullptr};
  ref::attention(Workers(1).get(), &args);
  return y;
}

}  // namespace

TEST_CASE("attention: within its roundings of FP64, with NaN in every unused place of the cache") {
  Random random(1);
  for (const auto& [n_heads, n_kv_heads, head_dim] :
       {std::array{6, 2, 10}, std::array{4, 4, 2}, std::array{48, 1, 16}, std::array{12, 2, 64}}) {
    const ModelShape s = shape_of(n_heads, n_kv_heads, head_dim);
    for (const int32_t number : {kF32, kBF16}) {
      for (const auto& [first, n_tokens] : {std::array{0, 1}, std::array{63, 1}, std::array{64, 1},
                                            std::array{50, 40}, std::array{0, 130}}) {
        const int32_t length = first + n_tokens;
        const Cache a(*generic_backend(), s, number, 128, 2);
        const Cache b(*reference_backend(), s, number, 128, 2);
        fill(random, s, length, a, b);
        const auto q = random.vector(int64_t{n_tokens} * n_heads * head_dim);
        const auto y = run_generic(s, a, q, first, 2);
        const auto exact = run_exact(s, b, q, first);
        double worst = 0;
        for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::abs(y[i] - exact[i]));
        // |q|, |k|, |v| < 3 each. A score is off by its chain's roundings, weights by as much and
        // exp's 2e-7, relatively; then a chain over the positions.
        const double score = 9.0 * head_dim / std::sqrt(head_dim);
        const double weight = (head_dim + 4) * kEps * score + 4e-7;
        INFO(n_heads << " heads on " << n_kv_heads << " of " << head_dim << ", number " << number
                     << ", positions " << first << " to " << length);
        CHECK(worst <= 3 * (2 * weight + 2 * (length + 8) * kEps));
      }
    }
  }
}

TEST_CASE("attention: a token's bits do not depend on its neighbours, nor on workers") {
  Random random(2);
  for (const int32_t number : {kF32, kBF16}) {
    const ModelShape s = shape_of(6, 2, 10);
    const Cache a(*generic_backend(), s, number, 64, 4), b(*reference_backend(), s, number, 64, 4);
    fill(random, s, 200, a, b);
    const int32_t width = s.n_heads * s.head_dim;
    const auto q = random.vector(200 * width);
    const auto all = run_generic(s, a, q, 0, 3);
    for (int32_t t = 0; t < 200; ++t) {
      const auto from = q.begin() + t * width;
      const std::vector<float> want(all.begin() + t * width, all.begin() + (t + 1) * width);
      INFO("number " << number << ", position " << t);
      CHECK(same_bits(run_generic(s, a, {from, from + width}, t, 1), want));
    }
  }
}

TEST_CASE("attention: NaN in one sequence does not reach another of the same step") {
  Random random(3);
  const ModelShape s = shape_of(4, 2, 8);
  const Cache a(*generic_backend(), s, kBF16, 64, 2), b(*reference_backend(), s, kBF16, 64, 2);
  fill(random, s, 10, a, b);  // positions of block_size 64: the first block of the list
  const int32_t other_block = a.blocks[1];
  const int32_t width = s.n_heads * s.head_dim;
  const auto q = random.vector(2 * width);
  const StepRow rows[] = {a.row(0, 1, 9), {1, 1, 5, 0, &other_block}};  // the second: all NaN
  const Memory scratch = scratch_for(s, 2, 1);
  std::vector<float> y(q.size());
  const AttentionArgs<float> args{&s, q.data(), rows, 2, 2, &a.kv, 0, y.data(), scratch.get()};
  generic_backend()->ops->attention(Workers(1).get(), &args);
  for (int32_t i = 0; i < width; ++i) {
    CHECK(std::isfinite(y[static_cast<size_t>(i)]));
    CHECK(std::isnan(y[static_cast<size_t>(width + i)]));
  }
}
