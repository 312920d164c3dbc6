#include "kernels/cuda/decode/attention_step.h"

#include "kernels/cuda/decode/attention_tile.h"

#include "kernels/cuda/decode/model.h"

using namespace support;

namespace {

constexpr int32_t kBlock = 64, kHeads = 6, kKvHeads = 2;

// Rows of a step over a cache that was filled before.
class AttentionCase {
 public:
  AttentionCase(uint64_t seed, int32_t head_dim, int32_t number, int32_t max_positions)
      : d_(head_dim),
        number_(number),
        max_positions_(max_positions),
        random_(seed),
        q_norm_(random_.vector(kHeads * d_, 0.3f)),
        k_norm_(random_.vector(kKvHeads * d_, 0.3f)),
        scales_{0.02f, 0.03f} {}

  void add_row(int32_t first_position, int32_t n_tokens) {
    in_.first_token[in_.n_rows] = in_.n_tokens;
    in_.row_tokens[in_.n_rows] = n_tokens;
    in_.first_block[in_.n_rows++] = static_cast<int32_t>(blocks_.size());
    for (int32_t i = 0; i < n_tokens; ++i) in_.positions[in_.n_tokens++] = first_position + i;
    for (int32_t i = 0; i < (first_position + n_tokens + kBlock - 1) / kBlock; ++i) {
      blocks_.push_back(n_blocks_++ ^ 1);  // in disorder
    }
    const int32_t width = (kHeads + 2 * kKvHeads) * d_;
    for (const float x : random_.vector(n_tokens * width)) qkv_.push_back(x);
    for (const float x : random_.vector(n_tokens * d_ / 2)) rope_.push_back(x);
    n_blocks_ += n_blocks_ % 2;
  }

  // Keys and values everywhere, also where nobody may look.
  void fill_cache() {
    const auto n = static_cast<size_t>(n_blocks_ * 2 * kKvHeads * kBlock * d_);
    for (size_t i = 0; i < n; ++i) {
      const float x = random_.normal();
      if (number_ == kE4M3) {
        cache_.push_back(static_cast<char>(f32_to_e4m3(x / 0.02f)));
      } else {
        const uint16_t half = f32_to_bf16(x);
        cache_.push_back(static_cast<char>(half));
        cache_.push_back(static_cast<char>(half >> 8));
      }
    }
  }

  // NaN in all numbers of a row's cache that lie behind a position.
  void spoil_after(int32_t r, int64_t position) {
    for (int64_t p = position + 1; p < (position / kBlock + 1) * kBlock; ++p) {
      const int32_t block = blocks_[static_cast<size_t>(in_.first_block[r] + p / kBlock)];
      for (int64_t half = 0; half < 2 * kKvHeads; ++half) {
        const int64_t at = ((block * int64_t{2} * kKvHeads + half) * kBlock + p % kBlock) * d_;
        std::memset(cache_.data() + at * bytes_of(number_), 0xFF,
                    static_cast<size_t>(d_ * bytes_of(number_)));
      }
    }
  }

  // BF16, [n_tokens, kHeads * head_dim].
  std::vector<uint16_t> run(int32_t n_grid) {
    const OnDevice<cuda::StepInput> input(std::vector<cuda::StepInput>(1, in_));
    const OnDevice<int32_t> blocks(blocks_);
    const OnDevice<float> q_norm(q_norm_), k_norm(k_norm_), qkv(qkv_), rope(rope_), scales(scales_);
    const OnDevice<char> cache(cache_);
    cuda::AttentionStep s{};
    s.input = input.get();
    s.blocks = blocks.get();
    s.n_heads = kHeads;
    s.n_kv_heads = kKvHeads;
    s.head_dim = d_;
    s.rotary_dim = d_ / 2;
    s.eps = 1e-6f;
    s.q_norm = q_norm.get();
    s.k_norm = k_norm.get();
    s.qkv = qkv.get();
    s.rope = rope.get();
    s.k_scales = s.v_scales = scales.get();
    s.cache = cache.get();
    s.block_size = kBlock;
    s.block_stride = int64_t{2} * kKvHeads * kBlock * d_ * bytes_of(number_);
    s.number = number_;
    s.max_chunks = static_cast<int32_t>(cuda::chunks_of(max_positions_));
    s.max_supers = static_cast<int32_t>(cuda::supers_of(max_positions_));
    const auto places = static_cast<size_t>(8 * kHeads * (s.max_chunks + s.max_supers));
    const OnDevice<float> sums(places * static_cast<size_t>(d_));
    const OnDevice<float2> tops(places);
    const OnDevice<uint32_t> counters(
        std::vector<uint32_t>(static_cast<size_t>(cuda::attention_counters(s)), 0));
    const auto n = static_cast<size_t>(in_.n_tokens * kHeads * d_);
    const OnDevice<uint16_t> y(n);
    s.sums = sums.get();
    s.tops = tops.get();
    s.counters = counters.get();
    s.y = y.get();
    REQUIRE(cuda::run_attention(s, n_grid, false, nullptr) == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    REQUIRE(std::string(cuda_emulator::last_failure()) == "");
    for (int32_t i = 0; i < cuda::attention_counters(s); ++i) REQUIRE(counters.get()[i] == 0);
    after_ = cache.read(cache_.size());
    return y.read(n);
  }

  // The greatest ratio of error and bound of all results.
  double worst(const std::vector<uint16_t>& got) const {
    double worst_ratio = 0;
    for (int32_t r = 0; r < in_.n_rows; ++r) {
      for (int32_t t = in_.first_token[r]; t < in_.first_token[r] + in_.row_tokens[r]; ++t) {
        for (int32_t head = 0; head < kHeads; ++head) {
          worst_ratio = std::max(worst_ratio, worst_of(got, r, t, head));
        }
      }
    }
    return worst_ratio;
  }

  // A new position's key or value, as the cache should have it, against what it has: at most one step of
  // its numbers apart (the norm's roundings may carry it over a middle).
  bool stored(int32_t r, int32_t t) const {
    bool good = true;
    const int32_t width = (kHeads + 2 * kKvHeads) * d_;
    for (int32_t kv = 0; kv < kKvHeads; ++kv) {
      for (int32_t i = 0; i < d_; ++i) {
        const double k = rotated(t, kHeads, kKvHeads, kv, i, k_norm_);
        const double v = qkv_[static_cast<size_t>(t * width + (kHeads + kKvHeads + kv) * d_ + i)];
        const double step = number_ == kE4M3 ? 0x1p-3 : 0x1p-7;
        const double least = number_ == kE4M3 ? 0x1p-9 * scales_[static_cast<size_t>(kv)] : 0;
        const double got_k = number_at(r, in_.positions[t], kv, 0, i);
        const double got_v = number_at(r, in_.positions[t], kv, 1, i);
        good &= std::abs(got_k - k) <= std::abs(k) * step + least;
        good &= std::abs(got_v - v) <= std::abs(v) * step / 2 + least;
      }
    }
    return good;
  }

 private:
  double number_at(int32_t r, int64_t position, int32_t kv, int32_t which, int32_t i) const {
    const int32_t block = blocks_[static_cast<size_t>(in_.first_block[r] + position / kBlock)];
    const int64_t at = ((block * int64_t{kKvHeads} + kv) * 2 + which) * kBlock + position % kBlock;
    const auto first = static_cast<size_t>((at * d_ + i) * bytes_of(number_));
    if (number_ == kE4M3) {
      return double{e4m3_to_f32(static_cast<uint8_t>(after_[first]))} *
             scales_[static_cast<size_t>(kv)];
    }
    uint16_t half;
    std::memcpy(&half, after_.data() + first, 2);
    return bf16_to_f32(half);
  }
  // Component i of a head after norm (over n heads from `first` on) and rotation.
  double rotated(int32_t t, int32_t first, int32_t n, int32_t head, int32_t i,
                 const std::vector<float>& norm) const {
    const float* x = qkv_.data() + t * (kHeads + 2 * kKvHeads) * d_ + first * d_;
    double squares = 0;
    for (int32_t k = 0; k < n * d_; ++k) squares += double{x[k]} * x[k];
    const double factor = 1 / std::sqrt(squares / (n * d_) + 1e-6);
    const auto normed = [&](int32_t k) {
      return double{x[head * d_ + k]} * factor * norm[static_cast<size_t>(head * d_ + k)];
    };
    const int32_t half = d_ / 4;
    const float* rope = rope_.data() + t * d_ / 2;
    if (i >= 2 * half) return normed(i);
    const double c = rope[i % half], s = rope[half + i % half];
    return i < half ? normed(i) * c - normed(half + i) * s : normed(i) * c + normed(i - half) * s;
  }

  double worst_of(const std::vector<uint16_t>& got, int32_t r, int32_t t, int32_t head) const {
    const int32_t kv = head / (kHeads / kKvHeads);
    std::vector<double> q;
    for (int32_t i = 0; i < d_; ++i) q.push_back(rotated(t, 0, kHeads, head, i, q_norm_));
    std::vector<double> scores;
    double most_size = 0, greatest = -1e300;
    for (int64_t p = 0; p <= in_.positions[t]; ++p) {
      double score = 0, size = 0;
      for (int32_t i = 0; i < d_; ++i) {
        const double term = q[static_cast<size_t>(i)] * number_at(r, p, kv, 0, i);
        score += term;
        size += std::abs(term);
      }
      scores.push_back(score / std::sqrt(d_));
      most_size = std::max(most_size, size / std::sqrt(d_));
      greatest = std::max(greatest, scores.back());
    }
    double total = 0;
    for (double& s : scores) total += s = std::exp(s - greatest);
    // q enters as BF16, 2^-9 of each component; the other errors of a score are within 2^-14 of its size.
    // So each weight is off by at most e^(2 off) (its own and the total), and by 2^-16 of two BF16.
    const double off = most_size * (0x1p-9 + 0x1p-14);
    double worst_ratio = 0;
    for (int32_t i = 0; i < d_; ++i) {
      double y = 0, size = 0;
      for (int64_t p = 0; p <= in_.positions[t]; ++p) {
        const double term = scores[static_cast<size_t>(p)] / total * number_at(r, p, kv, 1, i);
        y += term;
        size += std::abs(term);
      }
      const double bound = size * (std::exp(2 * off) - 1 + 0x1p-13) + std::abs(y) * 0x1p-8;
      const double value = bf16_to_f32(got[static_cast<size_t>((t * kHeads + head) * d_ + i)]);
      worst_ratio = std::max(worst_ratio, std::abs(value - y) / bound);
    }
    return worst_ratio;
  }

  int32_t d_, number_, max_positions_, n_blocks_ = 0;
  Random random_;
  std::vector<float> q_norm_, k_norm_, scales_, qkv_, rope_;
  std::vector<int32_t> blocks_;
  std::vector<char> cache_, after_;
  cuda::StepInput in_{};
};

}  // namespace

TEST_CASE(
    "cuda decode attention: within the bound of BF16 queries, every size of head, chunks and "
    "supers") {
  for (const int32_t number : {kBF16, kE4M3}) {
    for (const int32_t head_dim : {16, 32, 64, 128}) {
      AttentionCase c(41, head_dim, number, 700);
      c.add_row(0, 1);
      c.add_row(60, 5);
      c.add_row(head_dim == 32 ? 511 : 130, 2);
      c.fill_cache();
      const auto got = c.run(3);
      INFO("head_dim " << head_dim << ", cache " << number);
      CHECK(c.worst(got) <= 1);
      CHECK(c.stored(0, 0));
      CHECK(c.stored(1, 1));
      CHECK(c.stored(1, 5));
      CHECK(c.stored(2, 6));
      CHECK(c.stored(2, 7));
    }
  }
  AttentionCase deep(42, 16, kE4M3, 9000);
  deep.add_row(8800, 2);
  deep.fill_cache();
  CHECK(deep.worst(deep.run(5)) <= 1);
}

TEST_CASE(
    "cuda decode attention: neither the grid nor a later position, whatever it holds, moves a "
    "bit") {
  AttentionCase c(43, 32, kBF16, 700);
  c.add_row(600, 3);
  c.add_row(64, 2);
  c.fill_cache();
  const auto want = c.run(1);
  CHECK(c.run(7) == want);
  // A longer step over the same rows: its first tokens see what they saw.
  AttentionCase both(43, 32, kBF16, 700);
  both.add_row(600, 3);
  both.add_row(64, 2);
  both.fill_cache();
  both.spoil_after(0, 602);
  CHECK(both.run(2) == want);
}

TEST_CASE("cuda decode attention: a thread's registers stand for every component once") {
  for (const int32_t number : {kBF16, kE4M3}) {
    std::vector<int> columns(128, 0);
    for (int32_t d = 0; d < 128; ++d) {
      ++columns[static_cast<size_t>(number == kE4M3 ? cuda::column_of_component<kE4M3>(d)
                                                    : cuda::column_of_component<kBF16>(d))];
    }
    CHECK(columns == std::vector<int>(128, 1));
  }
  std::vector<int> components(128, 0);
  for (int32_t row = 0; row < 128; ++row) {
    ++components[static_cast<size_t>(cuda::component_of_row(row % 64, row / 64))];
  }
  CHECK(components == std::vector<int>(128, 1));
}
