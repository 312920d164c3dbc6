#include "kernels/cache.h"

using namespace support;

namespace {

struct Layer {
  ModelShape s;
  Weights q, k, v;
  std::vector<float> q_norm, k_norm;

  Layer(Random& random, const ModelShape& shape, int32_t number)
      : s(shape),
        q(random, s.n_heads * s.head_dim, s.hidden, number),
        k(random, s.n_kv_heads * s.head_dim, s.hidden, number),
        v(random, s.n_kv_heads * s.head_dim, s.hidden, number),
        q_norm(random.vector(s.n_heads * s.head_dim)),
        k_norm(random.vector(s.n_kv_heads * s.head_dim)) {}
};

struct Result {
  std::vector<float> q, kv;
};

// Tokens at positions from first_position on, x [n_tokens, hidden].
Result run(const Backend& backend, const Layer& layer, const std::vector<float>& x,
           const Cache& cache, int32_t first_position, int32_t activations, int32_t n_workers) {
  const ModelShape& s = layer.s;
  const auto n = static_cast<int32_t>(x.size()) / s.hidden;
  const Workers workers(n_workers);
  const Memory scratch(backend.ops->scratch_bytes(&s, n, n_workers));
  std::vector<int32_t> positions;
  for (int32_t t = 0; t < n; ++t) positions.push_back(first_position + t);
  std::vector<float> rope(static_cast<size_t>(n * s.rotary_dim));
  const RopeTableArgs<float> table{positions.data(), n, s.rotary_dim, s.rope_theta, rope.data()};
  tested_backend()->ops->rope_table(workers.get(), &table);
  Result r{std::vector<float>(static_cast<size_t>(n * s.n_heads * s.head_dim)),
           std::vector<float>(static_cast<size_t>(n * 2 * s.n_kv_heads * s.head_dim))};
  const StepRow row = cache.row(0, n, first_position);
  const bool ref = backend.keeps_file_layout;
  const QkvArgs<float> args{&s,
                            x.data(),
                            ref ? &layer.q.ref : &layer.q.generic,
                            ref ? &layer.k.ref : &layer.k.generic,
                            ref ? &layer.v.ref : &layer.v.generic,
                            layer.q_norm.data(),
                            layer.k_norm.data(),
                            rope.data(),
                            &row,
                            1,
                            n,
                            activations,
                            &cache.kv,
                            0,
                            r.q.data(),
                            r.kv.data(),
                            scratch.get()};
  backend.ops->qkv(workers.get(), &args);
  return r;
}

std::vector<float> attend(const ModelShape& s, const std::vector<float>& q, const Cache& cache,
                          int32_t first_position) {
  const auto n = static_cast<int32_t>(q.size()) / (s.n_heads * s.head_dim);
  const StepRow row = cache.row(0, n, first_position);
  const Memory scratch = scratch_for(s, n, 2);
  std::vector<float> y(q.size());
  const AttentionArgs<float> args{&s,    q.data(),  &row, 1,        n,
                                  kBF16, &cache.kv, 0,    y.data(), scratch.get()};
  tested_backend()->ops->attention(Workers(2).get(), &args);
  return y;
}

double greatest(const std::vector<float>& v) {
  double most = 0;
  for (const float x : v) most = std::max(most, std::abs(double{x}));
  return most;
}

}  // namespace

TEST_CASE("qkv: equal to the reference but for the order of the squares") {
  Random random(1);
  for (const int32_t number : {kF32, kBF16, kF16}) {
    for (const int32_t activations : {kF32, kBF16}) {
      const Layer layer(random, odd_shape(), number);
      const auto x = random.vector(9 * layer.s.hidden);
      const Cache a(*tested_backend(), layer.s, kF32, 64, 2);
      const Cache b(*reference_backend(), layer.s, kF32, 64, 2);
      const Result got = run(*tested_backend(), layer, x, a, 60, activations, 2);
      const Result want = run(*reference_backend(), layer, x, b, 60, activations, 1);
      // The products have the same bits, so only the sum of squares can differ: width roundings
      // at most, halved by the root, and those of norm and rotation after it.
      const int32_t width = layer.s.n_heads * layer.s.head_dim;
      double worst_q = 0, worst_kv = 0;
      for (size_t i = 0; i < got.q.size(); ++i) {
        worst_q = std::max(worst_q, std::abs(double{got.q[i]} - want.q[i]));
      }
      for (size_t i = 0; i < got.kv.size(); ++i) {
        worst_kv = std::max(worst_kv, std::abs(double{got.kv[i]} - want.kv[i]));
      }
      CHECK(worst_q <= (width + 8) * kEps * greatest(want.q));
      CHECK(worst_kv <= (width + 8) * kEps * greatest(want.kv));
    }
  }
}

TEST_CASE("qkv: the cache holds what kv_work holds, in the cache's format, and nothing else") {
  Random random(2);
  const Layer layer(random, odd_shape(), kBF16);
  const ModelShape& s = layer.s;
  const auto x = random.vector(9 * s.hidden);
  for (const Backend* backend : {tested_backend(), reference_backend()}) {
    for (const int32_t number : {kF32, kBF16, kE4M3}) {
      const Cache cache(*backend, s, number, 64, 2);
      const Result r = run(*backend, layer, x, cache, 60, kBF16, 1);
      for (int32_t p = 0; p < 128; ++p) {
        for (int32_t i = 0; i < 2 * s.n_kv_heads * s.head_dim; ++i) {
          const bool is_value = i >= s.n_kv_heads * s.head_dim;
          const int32_t in_kind = i % (s.n_kv_heads * s.head_dim);
          const float got = cache.get(p, in_kind / s.head_dim, in_kind % s.head_dim, is_value);
          if (p < 60 || p >= 69) {
            if (!std::isnan(got)) FAIL(backend->name << " wrote position " << p);
            continue;
          }
          const float kept =
              r.kv[static_cast<size_t>((p - 60) * 2 * s.n_kv_heads * s.head_dim + i)];
          const float scale = cache.scale(in_kind / s.head_dim, is_value);
          const float want = number == kE4M3   ? e4m3_to_f32(f32_to_e4m3(kept / scale)) * scale
                             : number == kBF16 ? bf16_to_f32(f32_to_bf16(kept))
                                               : kept;
          if (got != want) FAIL(backend->name << " position " << p << " component " << i);
        }
      }
    }
  }
  SUCCEED();
}

TEST_CASE("qkv and attention: a prompt in one piece, in chunks and token by token: the same bits") {
  Random random(3);
  for (const int32_t number : {kF32, kBF16, kE4M3}) {
    const Layer layer(random, odd_shape(), kBF16);
    const ModelShape& s = layer.s;
    constexpr int32_t kLength = 150;
    const auto x = random.vector(kLength * s.hidden);
    std::vector<std::vector<float>> results;
    for (const int32_t chunk : {kLength, 1, 7, 64, 65}) {
      const Cache cache(*tested_backend(), s, number, 64, 3);
      std::vector<float> all;
      for (int32_t at = 0; at < kLength; at += chunk) {
        const int32_t n = std::min(chunk, kLength - at);
        const std::vector<float> part(x.begin() + at * s.hidden, x.begin() + (at + n) * s.hidden);
        const Result r = run(*tested_backend(), layer, part, cache, at, kBF16, 1 + chunk % 3);
        const auto y = attend(s, r.q, cache, at);
        all.insert(all.end(), y.begin(), y.end());
      }
      results.push_back(all);
    }
    for (const auto& other : results) CHECK(same_bits(other, results[0]));
  }
}
