// Runs on the emulator: attention of many tokens beside that of steps of a few, and beside FP64.
#include "kernels/cuda/prefill/attention.h"

#include <set>

#include "kernels/cuda/decode/attention_tile.h"
#include "kernels/cuda/decode/model.h"
#include "kernels/cuda/device_step.h"
#include "kernels/cuda/prefill/attention_columns.h"

using namespace support;

namespace {

struct Heads {
  int32_t head_dim, n, n_kv;
};
struct Tokens {
  int32_t first_position, n;
};

// Rows over a cache that was filled before, what both kernels make of them, and the reference.
class Attentions {
 public:
  Attentions(uint64_t seed, const Heads& heads, int32_t number, const std::vector<Tokens>& tokens,
             int32_t block_size = 64)
      : random_(seed), heads_(heads), number_(number), rows_(block_size) {
    for (const Tokens& t : tokens) rows_.add(t.n, t.first_position);
    // Every block of the step somewhere else.
    for (size_t i = rows_.blocks.size(); i > 1; --i) {
      std::swap(rows_.blocks[i - 1], rows_.blocks[random_.bits() % i]);
    }
    shape_ = {1, 8, heads.n, heads.n_kv, heads.head_dim, heads.head_dim / 2,
              1, 1, 8,       8,          1e-6f,          1e4f};
    layout_ = cuda::kv_layout_of(shape_, block_size, number);
    width_ = (heads.n + 2 * heads.n_kv) * heads.head_dim;
    q_width_ = heads.n * heads.head_dim;
    const int64_t n = rows_.n_tokens();
    qkv_ = random_.vector(n * width_);
    rope_ = random_.vector(n * shape_.rotary_dim);
    q_norm_ = random_.vector(q_width_, 0.5f);
    k_norm_ = random_.vector(heads.n_kv * heads.head_dim, 0.5f);
    for (int32_t i = 0; i < heads.n_kv; ++i)
      scales_.push_back(0.02f + 0.01f * static_cast<float>(i));
    fill_cache();
  }

  // A few tokens of one row at a time, as steps of them do it.
  std::vector<uint16_t> few_by_few() {
    const Step on(*this);
    const int32_t max_positions = *std::max_element(rows_.positions.begin(), rows_.positions.end());
    cuda::AttentionStep s = on.step;
    s.max_chunks = static_cast<int32_t>(cuda::chunks_of(max_positions));
    s.max_supers = static_cast<int32_t>(cuda::supers_of(max_positions));
    const auto places =
        static_cast<size_t>(cuda::kDecodeTokens * heads_.n * (s.max_chunks + s.max_supers));
    const OnDevice<float> sums(places * static_cast<size_t>(heads_.head_dim));
    const OnDevice<float2> tops(places);
    const OnDevice<uint32_t> counters(
        std::vector<uint32_t>(static_cast<size_t>(cuda::attention_counters(s)), 0));
    s.sums = sums.get();
    s.tops = tops.get();
    s.counters = counters.get();
    for (const cuda::DeviceRow& row : rows_.rows) {
      for (int32_t i = 0; i < row.n_tokens; i += cuda::kDecodeTokens) {
        cuda::StepInput in{};
        in.n_rows = 1;
        in.n_tokens = in.row_tokens[0] = std::min(cuda::kDecodeTokens, row.n_tokens - i);
        in.first_block[0] = row.first_block;
        for (int32_t t = 0; t < in.n_tokens; ++t) in.positions[t] = row.first_position + i + t;
        const OnDevice<cuda::StepInput> input(std::vector<cuda::StepInput>{in});
        const int64_t first = row.first_token + i;
        s.input = input.get();
        s.qkv = on.step.qkv + first * width_;
        s.rope = on.step.rope + first * shape_.rotary_dim;
        s.y = on.step.y + first * q_width_;
        REQUIRE(cuda::run_attention(s, 3, false, nullptr) == cudaSuccess);
        wait();
      }
    }
    cache_after = on.cache.read(cache_.size());
    return on.y.read(static_cast<size_t>(rows_.n_tokens() * q_width_));
  }

  // All tokens of all rows.
  std::vector<uint16_t> at_once(int32_t n_processors) {
    const Step on(*this);
    std::vector<cuda::QueryTile> tiles(static_cast<size_t>(rows_.n_tokens()));
    int32_t n_tiles = 0;
    for (const cuda::DeviceRow& row : rows_.rows) {
      n_tiles += cuda::tiles_of_row(row, heads_.n, heads_.n_kv, tiles.data() + n_tiles);
    }
    cuda::sort_tiles(tiles.data(), n_tiles);
    tiles.resize(static_cast<size_t>(n_tiles));
    const OnDevice<cuda::QueryTile> on_tiles(tiles);
    const OnDevice<uint16_t> q(
        static_cast<size_t>(rows_.n_tokens() * heads_.n * cuda::kQueryWidth));
    const OnDevice<float> sums(static_cast<size_t>(cuda::prefill_attention_sums(n_processors)));
    const cuda::PrefillAttention a{on.step, on_tiles.get(), n_tiles, q.get(), sums.get()};
    REQUIRE(cuda::allow_prefill_attention(number_, heads_.head_dim) == cudaSuccess);
    REQUIRE(cuda::enter_rows(a, nullptr) == cudaSuccess);
    REQUIRE(cuda::prefill_attention(a, n_processors, nullptr) == cudaSuccess);
    wait();
    cache_after = on.cache.read(cache_.size());
    queries_.clear();
    for (int64_t i = 0; i < rows_.n_tokens() * int64_t{heads_.n}; ++i) {
      for (int32_t d = 0; d < heads_.head_dim; ++d) {
        const int32_t column = number_ == kE4M3 ? cuda::column_of_component<kE4M3>(d)
                                                : cuda::column_of_component<kBF16>(d);
        queries_.push_back(bf16_to_f32(q.get()[i * cuda::kQueryWidth + column]));
      }
    }
    return on.y.read(static_cast<size_t>(rows_.n_tokens() * q_width_));
  }

  // The greatest ratio of error and bound, of what at_once gave.
  double worst(const std::vector<uint16_t>& got) const {
    const std::vector<double> y = reference(false), sizes = reference(true);
    double worst_ratio = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      // Scores are within 2^-14 of their size: a chain of 128 (2^-15), the factor, the difference. So each
      // weight is off by at most e^(2 off) (its own and the total), and by 2^-16 of two BF16; the rest of
      // 2^-13 is for chains over the positions and for what is added later. y is rounded to BF16.
      const double off = size_of_scores(i) * 0x1p-14;
      const double bound = sizes[i] * (std::exp(2 * off) - 1 + 0x1p-13) + std::abs(y[i]) * 0x1p-8;
      worst_ratio = std::max(worst_ratio, std::abs(bf16_to_f32(got[i]) - y[i]) / bound);
    }
    return worst_ratio;
  }

  std::vector<char> cache_after;

 private:
  // Everything of a step in device memory.
  struct Step {
    explicit Step(const Attentions& of)
        : cache(of.cache_),
          qkv(of.qkv_),
          rope(of.rope_),
          q_norm(of.q_norm_),
          k_norm(of.k_norm_),
          scales(of.scales_),
          blocks(of.rows_.blocks),
          y(static_cast<size_t>(of.rows_.n_tokens() * of.q_width_)) {
      step.blocks = blocks.get();
      step.n_heads = of.heads_.n;
      step.n_kv_heads = of.heads_.n_kv;
      step.head_dim = of.heads_.head_dim;
      step.rotary_dim = of.shape_.rotary_dim;
      step.eps = of.shape_.rms_norm_eps;
      step.q_norm = q_norm.get();
      step.k_norm = k_norm.get();
      step.qkv = qkv.get();
      step.rope = rope.get();
      step.k_scales = step.v_scales = of.number_ == kE4M3 ? scales.get() : nullptr;
      step.cache = cache.get();
      step.block_stride = of.layout_.block_bytes;
      step.block_size = of.layout_.block_size;
      step.number = of.number_;
      step.y = y.get();
    }
    OnDevice<char> cache;
    OnDevice<float> qkv, rope, q_norm, k_norm, scales;
    OnDevice<int32_t> blocks;
    OnDevice<uint16_t> y;
    cuda::AttentionStep step{};
  };

  static void wait() {
    const bool went_well = cudaDeviceSynchronize() == cudaSuccess;
    INFO(cuda_emulator::last_failure());
    REQUIRE(went_well);
  }

  // Positions before each row's first token; NaN everywhere else, where nobody may look.
  void fill_cache() {
    cache_.assign(static_cast<size_t>(layout_.block_bytes * rows_.n_blocks()), '\xFF');
    for (const cuda::DeviceRow& row : rows_.rows) {
      for (int32_t p = 0; p < row.first_position; ++p) {
        for (int32_t half = 0; half < 2 * heads_.n_kv; ++half) {
          char* to = cache_.data() + place(row, p, half);
          for (int32_t d = 0; d < heads_.head_dim; ++d) {
            cuda::store_kv_number_at(number_, random_.normal(), 0.02f, to, d);
          }
        }
      }
    }
  }

  // Of the keys (even halves) or values (odd) of a head at a position.
  size_t place(const cuda::DeviceRow& row, int64_t position, int32_t half) const {
    const int64_t block =
        rows_.blocks[static_cast<size_t>(row.first_block + position / layout_.block_size)];
    return static_cast<size_t>(block * layout_.block_bytes + half * layout_.half_bytes +
                               position % layout_.block_size * layout_.row_bytes);
  }

  // FP64, from the queries and the cache that the device has; of the values' sizes where it is said.
  std::vector<double> reference(bool of_sizes) const {
    const auto number_bytes = static_cast<size_t>(bytes_of(number_));
    KvCache kv{};
    std::vector<char> memory(cache_.size());
    kv.data = memory.data();
    kv.block_stride = layout_.block_bytes;
    kv.block_size = layout_.block_size;
    kv.number = number_;
    kv.k_scales = kv.v_scales = scales_.data();
    const std::vector<StepRow> host_rows = rows_.host();
    for (size_t r = 0; r < host_rows.size(); ++r) {
      const cuda::DeviceRow& row = rows_.rows[r];
      std::vector<char> numbers;
      for (int32_t p = 0; p < row.first_position + row.n_tokens; ++p) {
        for (int32_t i = 0; i < 2 * heads_.n_kv; ++i) {
          const bool is_value = i >= heads_.n_kv;
          const char* from =
              cache_after.data() + place(row, p, i % heads_.n_kv * 2 + (is_value ? 1 : 0));
          const size_t first = numbers.size();
          numbers.insert(numbers.end(), from, from + heads_.head_dim * bytes_of(number_));
          for (size_t at = first + number_bytes - 1; of_sizes && is_value && at < numbers.size();
               at += number_bytes) {
            numbers[at] = static_cast<char>(numbers[at] & 0x7F);
          }
        }
      }
      reference_backend()->write_positions(&kv, &shape_, &host_rows[r], 0,
                                           row.first_position + row.n_tokens, numbers.data());
    }
    std::vector<double> y(queries_.size());
    const Workers one(1);
    const AttentionArgs<double> args{&shape_,
                                     queries_.data(),
                                     host_rows.data(),
                                     static_cast<int32_t>(host_rows.size()),
                                     rows_.n_tokens(),
                                     kBF16,
                                     &kv,
                                     0,
                                     y.data(),
                                     nullptr};
    ref::attention(one.get(), &args);
    return y;
  }

  // The greatest sum of the sizes of a score's products, of the query that result i belongs to.
  double size_of_scores(size_t i) const {
    const size_t query = i / static_cast<size_t>(heads_.head_dim);
    const auto n_heads = static_cast<size_t>(heads_.n);
    if (query == sized_query_) return score_size_;
    sized_query_ = query;
    score_size_ = 0;
    const size_t token = query / n_heads;
    const auto kv_head = static_cast<int32_t>(query % n_heads) / (heads_.n / heads_.n_kv);
    const cuda::DeviceRow& row = rows_.rows[static_cast<size_t>(rows_.token_rows[token])];
    const double scale = number_ == kE4M3 ? scales_[static_cast<size_t>(kv_head)] : 1.0f;
    for (int64_t p = 0; p <= rows_.positions[token]; ++p) {
      const char* key = cache_after.data() + place(row, p, kv_head * 2);
      double size = 0;
      for (int32_t d = 0; d < heads_.head_dim; ++d) {
        const size_t at = query * static_cast<size_t>(heads_.head_dim) + static_cast<size_t>(d);
        size += std::abs(queries_[at] * cuda::kv_number_at(number_, key, d));
      }
      score_size_ = std::max(score_size_, size * scale / std::sqrt(heads_.head_dim));
    }
    return score_size_;
  }

  Random random_;
  Heads heads_;
  int32_t number_;
  DeviceRows rows_;
  ModelShape shape_{};
  cuda::KvLayout layout_{};
  int32_t width_ = 0, q_width_ = 0;
  std::vector<float> qkv_, rope_, q_norm_, k_norm_, scales_;
  std::vector<char> cache_;
  std::vector<double> queries_;  // as the device rounded them
  mutable size_t sized_query_ = SIZE_MAX;
  mutable double score_size_ = 0;
};

void check_bits(const Heads& heads, int32_t number, const std::vector<Tokens>& tokens,
                int32_t block_size = 64) {
  INFO(heads.n << " heads of " << heads.head_dim << " over " << heads.n_kv << ", cache " << number
               << ", from position " << tokens[0].first_position);
  Attentions few(7, heads, number, tokens, block_size), many(7, heads, number, tokens, block_size);
  const std::vector<uint16_t> want = few.few_by_few();
  CHECK(many.at_once(2) == want);
  CHECK(many.cache_after == few.cache_after);
}

}  // namespace

TEST_CASE("cuda prefill attention: the bits of a few tokens at a time, wherever a row begins") {
  check_bits({128, 6, 1}, kE4M3, {{60, 22}});
  check_bits({64, 6, 2}, kBF16, {{0, 11}, {120, 9}});  // over a group's end
  check_bits({32, 2, 2}, kE4M3, {{3, 70}});
  check_bits({16, 4, 1}, kBF16, {{500, 35}});  // over a chunk's end
  check_bits({16, 8, 1}, kE4M3, {{1023, 9}, {190, 17}}, 128);
  check_bits({16, 3, 1}, kE4M3, {{8188, 9}});  // over a super's end
}

TEST_CASE("cuda prefill attention: any number of heads shares a KV head") {
  for (int32_t n = 1; n <= 8; ++n) {
    check_bits({16, n, 1}, n % 2 == 0 ? kBF16 : kE4M3, {{62, 64 / n + 1}});
  }
}

TEST_CASE("cuda prefill attention: within the bound of FP64 on the same queries and cache") {
  for (const int32_t number : {kBF16, kE4M3}) {
    for (const Heads& heads : {Heads{128, 6, 1}, Heads{64, 4, 2}, Heads{16, 5, 1}}) {
      INFO("head_dim " << heads.head_dim << ", cache " << number);
      Attentions a(11, heads, number, {{0, 25}, {heads.head_dim == 16 ? 1000 : 70, 12}});
      const auto got = a.at_once(3);
      CHECK(a.worst(got) <= 1);
      CHECK(a.worst(got) > 0x1p-6);  // of a bound that is not far off
    }
  }
}

TEST_CASE("cuda prefill attention: how many processors there are moves no bit") {
  Attentions a(5, {32, 6, 2}, kBF16, {{30, 45}, {0, 9}, {513, 12}});
  const auto want = a.at_once(1);
  CHECK(a.at_once(7) == want);
}

TEST_CASE("cuda prefill attention: tiles hold each token once, longest first") {
  for (const int32_t n_heads : {1, 3, 6, 8}) {
    for (const int32_t n_tokens : {9, 20, 21, 128, 300}) {
      std::vector<cuda::QueryTile> tiles(static_cast<size_t>(cuda::divide_up(n_tokens, 8)));
      const int32_t n = cuda::tiles_of_row({4, n_tokens, 17, 0, 5}, n_heads, 1, tiles.data());
      REQUIRE(n <= static_cast<int32_t>(tiles.size()));
      cuda::sort_tiles(tiles.data(), n);
      std::set<int32_t> tokens;
      for (int32_t i = 0; i < n; ++i) {
        const cuda::QueryTile& tile = tiles[static_cast<size_t>(i)];
        CHECK(tile.first_position - 17 == tile.first_token - 4);
        CHECK(tile.first_block == 5);
        CHECK(tile.n_tokens <= cuda::tokens_of_tile(n_heads, 1));
        if (i > 0) CHECK(tile.first_position < tiles[static_cast<size_t>(i - 1)].first_position);
        for (int32_t t = 0; t < tile.n_tokens; ++t) tokens.insert(tile.first_token + t);
      }
      CHECK(tokens.size() == static_cast<size_t>(n_tokens));
      CHECK(*tokens.begin() == 4);
      CHECK(*tokens.rbegin() == 4 + n_tokens - 1);
    }
  }
}

TEST_CASE("cuda prefill attention: the rounds of all blocks of threads hold each unit once") {
  for (const int32_t n_blocks : {1, 2, 7}) {
    std::set<int32_t> units;
    for (int32_t round = 0; round < 5; ++round) {
      for (int32_t i = 0; i < n_blocks; ++i) units.insert(cuda::unit_of_round(round, i, n_blocks));
    }
    CHECK(units.size() == static_cast<size_t>(5 * n_blocks));
    CHECK(*units.rbegin() == 5 * n_blocks - 1);
  }
  CHECK(cuda::unit_of_round(1, 0, 7) == 13);
}

TEST_CASE("cuda prefill attention: powers of differences have the bits of those of decoding") {
  Random random(3);
  const auto check = [](float t) {
    INFO("t = " << t);
    REQUIRE(bits_of(cuda::exp2_of_difference(t)) == bits_of(cuda::exp2_fast(t)));
  };
  for (const float t : {0.0f, -0.0f, -0x1p-149f, -0.5f, -125.0f, -125.5f, -126.0f, -3.4e38f}) {
    check(t);
    check(std::nextafter(t, -INFINITY));
    if (t < 0) check(std::nextafter(t, 0.0f));
  }
  check(-INFINITY);
  for (int i = 0; i < 300000; ++i) {
    check(-130.0f * static_cast<float>(random.bits() >> 40) * 0x1p-24f);
    // Any float that is not above 0.
    const float any = float_of(static_cast<uint32_t>(random.bits()) | 0x80000000u);
    if (any == any) check(any);
  }
  CHECK(std::isnan(cuda::exp2_of_difference(NAN)));
}
