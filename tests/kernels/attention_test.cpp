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

// The same random K and V of n_positions in both caches, the reference's second; NaN after them.
void fill(Random& random, const ModelShape& s, int32_t n_positions, const Cache& a,
          const Cache& b) {
  const int64_t width = int64_t{s.n_kv_heads} * s.head_dim;
  for (int64_t p = 0; p < n_positions; ++p) {
    const auto kv = random.vector(2 * width);
    layout::store_position(a.kv, s, a.row(0, 1, 0), 0, p, kv.data(), kv.data() + width);
    for (int64_t i = 0; i < 2 * width; ++i) {
      const auto head = static_cast<int32_t>(i % width / s.head_dim);
      const auto d = static_cast<int32_t>(i % s.head_dim);
      b.put(p, head, d, i >= width, kv[static_cast<size_t>(i)]);
    }
  }
}

// How a cache and its queries are rounded.
struct Numbers {
  int32_t cache, activations;
};
constexpr Numbers kNumbers[] = {{kF32, kF32},   {kF32, kBF16}, {kBF16, kF32},
                                {kBF16, kBF16}, {kE4M3, kF32}, {kE4M3, kBF16}};

std::vector<float> run_generic(const ModelShape& s, const Cache& cache, const std::vector<float>& q,
                               int32_t first_position, int32_t activations, int32_t n_workers) {
  const auto n_tokens = static_cast<int32_t>(q.size()) / (s.n_heads * s.head_dim);
  const StepRow row = cache.row(0, n_tokens, first_position);
  const Memory scratch = scratch_for(s, n_tokens, n_workers);
  std::vector<float> y(q.size());
  const AttentionArgs<float> args{&s,          q.data(),  &row, 1,        n_tokens,
                                  activations, &cache.kv, 0,    y.data(), scratch.get()};
  tested_backend()->ops->attention(Workers(n_workers).get(), &args);
  return y;
}

std::vector<double> run_exact(const ModelShape& s, const Cache& cache, const std::vector<float>& q,
                              int32_t first_position, int32_t activations) {
  const auto n_tokens = static_cast<int32_t>(q.size()) / (s.n_heads * s.head_dim);
  const StepRow row = cache.row(0, n_tokens, first_position);
  const auto wide = widened(q);
  std::vector<double> y(q.size());
  const AttentionArgs<double> args{&s,          wide.data(), &row, 1,        n_tokens,
                                   activations, &cache.kv,   0,    y.data(), nullptr};
  ref::attention(Workers(1).get(), &args);
  return y;
}

// Numbers below 3 in size, over `length` positions: how far y may be from the exact one. A weight is
// off by the roundings of its score (chain, factor, difference from the greatest), by those of its
// 2^x and of one for each 64 positions that its sum fades with, and by its own to 16 or 20 bits.
// Then a chain over the positions. Weights err in y and in their total.
double bound(const ModelShape& s, Numbers numbers, int32_t length) {
  const double score = 9.0 * std::sqrt(s.head_dim);
  const bool exact = numbers.activations == kBF16 && numbers.cache != kF32;
  const double own = !exact ? 0 : numbers.cache == kBF16 ? 0x1p-16 : 0x1p-20;
  const double fades = length / 64 + length / 512 + 2;
  const double weight = (s.head_dim + 6) * kEps * score + fades * 3e-7 + own;
  return 3 * (2 * weight + 2 * (length + 16) * kEps);
}

}  // namespace

TEST_CASE("attention: within its roundings of FP64, with NaN in every unused place of the cache") {
  Random random(1);
  for (const auto& [n_heads, n_kv_heads, head_dim] :
       {std::array{6, 2, 10}, std::array{4, 4, 2}, std::array{48, 1, 16}, std::array{12, 2, 64},
        std::array{3, 1, 7}, std::array{2, 2, 80}}) {
    const ModelShape s = shape_of(n_heads, n_kv_heads, head_dim);
    for (const Numbers numbers : kNumbers) {
      for (const auto& [first, n_tokens] :
           {std::array{0, 1}, std::array{62, 1}, std::array{63, 1}, std::array{64, 1},
            std::array{50, 40}, std::array{0, 130}, std::array{600, 2}}) {
        const int32_t length = first + n_tokens;
        const Cache a(*tested_backend(), s, numbers.cache, 128, 5);
        const Cache b(*reference_backend(), s, numbers.cache, 128, 5);
        fill(random, s, length, a, b);
        const auto q = random.vector(int64_t{n_tokens} * n_heads * head_dim);
        const auto y = run_generic(s, a, q, first, numbers.activations, 2);
        const auto exact = run_exact(s, b, q, first, numbers.activations);
        double worst = 0;
        bool finite = true;
        for (size_t i = 0; i < y.size(); ++i) {
          worst = std::max(worst, std::abs(y[i] - exact[i]));
          finite &= std::isfinite(y[i]);
        }
        INFO(n_heads << " heads on " << n_kv_heads << " of " << head_dim << ", cache "
                     << numbers.cache << ", activations " << numbers.activations << ", positions "
                     << first << " to " << length);
        CHECK(finite);
        CHECK(worst <= bound(s, numbers, length));
      }
    }
  }
}

TEST_CASE("attention: a token's bits do not depend on its neighbours, nor on workers") {
  Random random(2);
  constexpr int32_t kLength = 1200;  // three times 512
  for (const Numbers numbers : kNumbers) {
    const ModelShape s = shape_of(6, 2, 10);
    const Cache a(*tested_backend(), s, numbers.cache, 64, 19);
    const Cache b(*reference_backend(), s, numbers.cache, 64, 19);
    fill(random, s, kLength, a, b);
    const int32_t width = s.n_heads * s.head_dim;
    const auto q = random.vector(kLength * width);
    const auto all = run_generic(s, a, q, 0, numbers.activations, 3);
    for (int32_t t = 0; t < kLength; t += t < 200 || t % 512 > 508 ? 1 : 61) {
      const auto from = q.begin() + t * width;
      const std::vector<float> want(all.begin() + t * width, all.begin() + (t + 1) * width);
      INFO("cache " << numbers.cache << ", activations " << numbers.activations << ", position "
                    << t);
      for (const int32_t n_workers : {1, 2, 7}) {
        CHECK(same_bits(run_generic(s, a, {from, from + width}, t, numbers.activations, n_workers),
                        want));
      }
    }
  }
}

TEST_CASE("attention: an infinite value reaches no token before it in the same step") {
  Random random(4);
  const ModelShape s = shape_of(1, 1, 64);
  constexpr int32_t kLength = 64;  // the last token fills a unit
  for (const int32_t number : {kF32, kBF16}) {
    const Cache a(*tested_backend(), s, number, 64, 1), b(*reference_backend(), s, number, 64, 1);
    fill(random, s, kLength, a, b);
    std::vector<float> kv(2 * 64, INFINITY);
    std::fill(kv.begin(), kv.begin() + 64, 0.0f);
    layout::store_position(a.kv, s, a.row(0, 1, 0), 0, kLength - 1, kv.data(), kv.data() + 64);
    const auto q = random.vector(3 * 64);
    const auto all = run_generic(s, a, q, kLength - 3, kBF16, 1);
    for (int32_t t = 0; t < 3; ++t) {
      const auto from = q.begin() + t * 64;
      const auto alone = run_generic(s, a, {from, from + 64}, kLength - 3 + t, kBF16, 1);
      INFO("cache " << number << ", token " << t);
      CHECK(std::isfinite(alone[0]) == (t < 2));
      CHECK(same_bits(alone, {all.begin() + t * 64, all.begin() + (t + 1) * 64}));
    }
  }
}

TEST_CASE("attention: NaN in one sequence does not reach another of the same step") {
  Random random(3);
  const ModelShape s = shape_of(4, 2, 8);
  for (const int32_t number : {kF32, kBF16, kE4M3}) {
    const Cache a(*tested_backend(), s, number, 64, 2), b(*reference_backend(), s, number, 64, 2);
    fill(random, s, 10, a, b);  // positions of block_size 64: the first block of the list
    const int32_t other_block = a.blocks[1];
    const int32_t width = s.n_heads * s.head_dim;
    const auto q = random.vector(2 * width);
    const StepRow rows[] = {a.row(0, 1, 9), {1, 1, 5, 0, &other_block}};  // the second: all NaN
    const Memory scratch = scratch_for(s, 2, 1);
    std::vector<float> y(q.size());
    const AttentionArgs<float> args{&s,    q.data(), rows, 2,        2,
                                    kBF16, &a.kv,    0,    y.data(), scratch.get()};
    tested_backend()->ops->attention(Workers(1).get(), &args);
    for (int32_t i = 0; i < width; ++i) {
      CHECK(std::isfinite(y[static_cast<size_t>(i)]));
      CHECK(std::isnan(y[static_cast<size_t>(width + i)]));
    }
  }
}

namespace {

// Several sequences in one cache: their lengths, and the tokens of each that a step computes.
struct Batch {
  ModelShape s;
  std::unique_ptr<Cache> cache;
  std::vector<StepRow> rows;
  std::vector<std::vector<int32_t>> blocks;
  std::vector<float> q;
  int32_t n_tokens = 0;
};

Batch random_batch(Random& random) {
  const auto pick = [&](int32_t from, int32_t to) {
    return from + static_cast<int32_t>(random.bits() % static_cast<uint64_t>(to - from + 1));
  };
  Batch b;
  const int32_t n_kv_heads = pick(1, 3);
  b.s = shape_of(n_kv_heads * pick(1, 9), n_kv_heads, pick(0, 3) == 0 ? 128 : pick(1, 140));
  const int32_t block_size = 64 * pick(1, 3);
  const int32_t number = std::array{kF32, kBF16, kE4M3}[static_cast<size_t>(pick(0, 2))];
  const int32_t n_rows = pick(1, 3);
  std::vector<int32_t> lengths;
  int32_t n_blocks = 0;
  for (int32_t r = 0; r < n_rows; ++r) {
    const int32_t first = pick(0, 1) == 0 ? pick(0, 130) : pick(0, 1300), n = pick(1, 40);
    b.rows.push_back({b.n_tokens, n, first, 0, nullptr});
    b.n_tokens += n;
    n_blocks += (first + n + block_size - 1) / block_size;
  }
  b.cache = std::make_unique<Cache>(*generic_backend(), b.s, number, block_size, n_blocks);
  int32_t next = 0;
  for (StepRow& row : b.rows) {
    auto& blocks = b.blocks.emplace_back();
    for (int32_t p = 0; p < row.first_position + row.n_tokens; p += block_size) {
      blocks.push_back(b.cache->blocks[static_cast<size_t>(next++)]);
    }
    row.blocks = blocks.data();
    const int64_t width = int64_t{n_kv_heads} * b.s.head_dim;
    for (int32_t p = 0; p < row.first_position + row.n_tokens; ++p) {
      const auto kv = random.vector(2 * width);
      layout::store_position(b.cache->kv, b.s, row, 0, p, kv.data(), kv.data() + width);
    }
  }
  b.q = random.vector(int64_t{b.n_tokens} * b.s.n_heads * b.s.head_dim);
  return b;
}

std::vector<float> run_rows(const Backend& backend, const Batch& b,
                            const std::vector<StepRow>& rows, const float* q, int32_t activations,
                            int32_t n_workers) {
  const int32_t n_tokens = rows.back().first_token + rows.back().n_tokens;
  const Memory scratch(backend.ops->scratch_bytes(&b.s, n_tokens, n_workers));
  std::vector<float> y(static_cast<size_t>(n_tokens * b.s.n_heads * b.s.head_dim));
  const AttentionArgs<float> args{&b.s,         q,
                                  rows.data(),  static_cast<int32_t>(rows.size()),
                                  n_tokens,     activations,
                                  &b.cache->kv, 0,
                                  y.data(),     scratch.get()};
  backend.ops->attention(Workers(n_workers).get(), &args);
  return y;
}

}  // namespace

TEST_CASE(
    "attention: random shapes, batches, chunkings and workers: the bits of the generic kernels") {
  Random random(4);
  for (int32_t round = 0; round < 40; ++round) {
    const Batch b = random_batch(random);
    const int32_t activations = random.bits() % 4 == 0 ? kF32 : kBF16;
    const auto n_workers = static_cast<int32_t>(1 + random.bits() % 5);
    const auto together =
        run_rows(*tested_backend(), b, b.rows, b.q.data(), activations, n_workers);
    std::vector<float> apart;
    for (StepRow row : b.rows) {
      const int32_t end = row.first_position + row.n_tokens, width = b.s.n_heads * b.s.head_dim;
      const float* q = b.q.data() + int64_t{row.first_token} * width;
      while (row.first_position < end) {
        const auto most = static_cast<uint64_t>(end - row.first_position);
        const auto n = static_cast<int32_t>(1 + random.bits() % most);
        const auto y = run_rows(*generic_backend(), b, {{0, n, row.first_position, 0, row.blocks}},
                                q, activations, 1);
        apart.insert(apart.end(), y.begin(), y.end());
        row.first_position += n;
        q += int64_t{n} * width;
      }
    }
    INFO("round " << round << ": " << b.s.n_heads << " heads on " << b.s.n_kv_heads << " of "
                  << b.s.head_dim << ", cache " << b.cache->kv.number << ", activations "
                  << activations << ", " << b.rows.size() << " rows, " << n_workers << " workers");
    CHECK(same_bits(together, apart));
  }
}
