#include "kernels/cuda/layout/weights.h"

#include <set>

#include "kernels/cuda/layout/pack.h"
#include "kernels/support.h"

using namespace support;
namespace cuda = mm2::kernels::cuda;
using cuda::WeightLayout;

namespace {

struct Size {
  int64_t n_out, n_in;
};
constexpr Size kSizes[] = {{1, 1}, {64, 128}, {70, 130}, {130, 300}, {200, 96}};

// Takes bits of a matrix, each once.
class Taken {
 public:
  explicit Taken(int64_t n_bytes) : bits_(static_cast<size_t>(n_bytes) * 8) {}
  bool take(int64_t byte, int32_t shift, int64_t n_bits) {
    const int64_t first = byte * 8 + shift;
    if (first < 0 || first + n_bits > static_cast<int64_t>(bits_.size())) return false;
    for (int64_t i = first; i < first + n_bits; ++i) {
      if (bits_[static_cast<size_t>(i)]) return false;
      bits_[static_cast<size_t>(i)] = true;
    }
    n_ += n_bits;
    return true;
  }
  int64_t n() const { return n_; }

 private:
  std::vector<bool> bits_;
  int64_t n_ = 0;
};

}  // namespace

TEST_CASE(
    "cuda weights: every code, scale and zero has its own place, and together they fill the "
    "matrix") {
  for (const auto [n_out, n_in] : kSizes) {
    for (const NamedFormat& named : all_formats(n_out, n_in)) {
      const WeightLayout l = cuda::layout_of(named.format, n_out, n_in);
      INFO(named.name << " [" << n_out << ", " << n_in << "]");
      REQUIRE(cuda::packed_bytes(named.format, n_out, n_in) == l.bytes);
      Taken taken(l.bytes);
      std::set<int64_t> scales;
      bool own = true, aligned = true;
      const int64_t rows = cuda::round_up(n_out, 64), cols = cuda::round_up(n_in, 128);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t k = 0; k < cols; ++k) {
          const cuda::Place code = cuda::code_place(l, row, k);
          aligned &= code.dword % 4 == 0;
          own &= taken.take(code.dword, code.shift, cuda::code_bits(l));
          if (l.groups == 0 || k % l.group_cols != 0) continue;
          const int64_t scale = cuda::scale_place(l, row, k);
          const bool first = scales.insert(scale).second;
          own &= first ? taken.take(scale, 0, bytes_of(l.scale) * 8) : l.shared != 0;
          if (l.format.zeros == 0) continue;
          const cuda::Place zero = cuda::zero_place(l, row, k);
          aligned &= zero.dword % 4 == 0;
          own &= taken.take(zero.dword, zero.shift, cuda::code_bits(l));
        }
      }
      for (int64_t k = 0; k < n_in && l.format.ordered != 0; ++k) {
        own &= taken.take(l.order + 4 * k, 0, 32);
      }
      CHECK(own);
      CHECK(aligned);
      // Shared scales have room for four groups, the order ends on 64 bytes.
      const int64_t spare = l.shared != 0 ? l.n_blocks * l.n_records * (4 - l.groups) * 32 : 0;
      const int64_t behind = l.format.ordered != 0 ? cuda::round_up(n_in * 4, 64) - n_in * 4 : 0;
      CHECK(taken.n() + spare + behind * 8 == l.bytes * 8);
      CHECK(l.record_bytes % 16 == 0);
      CHECK(l.scales % 16 == 0);
      CHECK(l.zeros % 16 == 0);
    }
  }
}

TEST_CASE("cuda weights: the 16 bytes of a thread are its fragments of wgmma's A") {
  // Elements of A of m64nNk16 in registers, as the PTX manual numbers them.
  const auto row_of = [](int32_t thread, int i) {
    return thread / 32 * 16 + thread % 32 / 4 + (i % 4 >= 2 ? 8 : 0);
  };
  const auto col_of = [](int32_t thread, int i) {
    return thread % 4 * 2 + i % 2 + (i >= 4 ? 8 : 0);
  };
  for (const NamedFormat& named : all_formats(128, 256)) {
    const WeightLayout l = cuda::layout_of(named.format, 128, 256);
    if (l.codes == cuda::kFloats) continue;
    const int32_t steps = l.tile_cols / 16, per_step = 4 / steps;  // dwords
    bool same = true;
    for (int64_t tile = 0; tile < 2 * 2 * l.n_tiles; ++tile) {
      const int64_t block = tile / (2 * l.n_tiles), record = tile / l.n_tiles % 2;
      const int64_t first =
          block * l.block_bytes + record * l.record_bytes + tile % l.n_tiles * cuda::kTileBytes;
      const int64_t k0 = record * 128 + tile % l.n_tiles * l.tile_cols;
      for (int32_t thread = 0; thread < 128; ++thread) {
        for (int32_t i = 0; i < 8 * steps; ++i) {
          const int32_t step = i / 8, j = i % 8 / 2, odd = i % 2;
          const cuda::Place at = cuda::code_place(l, block * 64 + row_of(thread, i % 8),
                                                  k0 + step * 16 + col_of(thread, i % 8));
          same &= row_of(thread, i % 8) == cuda::fragment_row(thread, j);
          same &= col_of(thread, i % 8) == cuda::fragment_col(thread, j) + odd;
          // Register j of a step: 4 / per_step registers in each of its dwords.
          const int32_t dword = step * per_step + j * per_step / 4;
          const int32_t shift = j % (4 / per_step) * cuda::code_bits(l) + 16 * odd;
          same &= at.dword == first + thread * 16 + dword * 4 && at.shift == shift;
        }
      }
    }
    INFO(named.name);
    CHECK(same);
  }
}

TEST_CASE("cuda weights: the scales of a thread's two rows are neighbours") {
  for (int32_t thread = 0; thread < 128; ++thread) {
    const int32_t first = cuda::rank(cuda::fragment_row(thread, 0));
    CHECK(first % 2 == 0);
    CHECK(cuda::rank(cuda::fragment_row(thread, 1)) == first + 1);
  }
  for (int32_t row = 0; row < 64; ++row) CHECK(cuda::row_of_rank(cuda::rank(row)) == row);
}

TEST_CASE("cuda weights: bytes per weight are those that the speed of decoding is computed from") {
  const auto per_weight = [](const Format& f) {
    return static_cast<double>(cuda::packed_bytes(f, 1536, 3072)) / (1536.0 * 3072.0);
  };
  CHECK(per_weight({kInteger, kBF16, 4, 0, 0, 1, 128}) == 0.515625);
  CHECK(per_weight({kInteger, kBF16, 4, 1, 0, 1, 128}) == 0.515625 + 0.5 / 128);
  CHECK(per_weight({kFp4, kE4M3, 4, 0, 0, 1, 16}) == 0.5625);
  CHECK(per_weight({kFp4, kE8M0, 4, 0, 0, 1, 32}) == 0.53125);
  CHECK(per_weight(plain(kBF16)) == 2);
  CHECK(per_weight(plain(kF32)) == 4);
  // 128x128 blocks: 16 bytes for each 64 x 128 weights.
  CHECK(per_weight({kFp8, kF32, 8, 0, 0, 128, 128}) == 1 + 16.0 / (64 * 128));
}

TEST_CASE("cuda weights: sizes that no memory holds are refused") {
  const Format w4{kInteger, kBF16, 4, 0, 0, 1, 128};
  CHECK(cuda::packed_bytes(w4, -1, 128) == -1);
  CHECK(cuda::packed_bytes(w4, 64, -1) == -1);
  CHECK(cuda::packed_bytes(w4, INT64_MAX / 2, 128) == -1);
  CHECK(cuda::packed_bytes(w4, 64, INT64_MAX / 2) == -1);
  CHECK(cuda::packed_bytes(w4, INT64_C(1) << 40, INT64_C(1) << 40) == -1);
  CHECK(cuda::packed_bytes(w4, 0, 128) == 0);
  CHECK(cuda::packed_bytes(w4, 64, 0) == 0);
  const Format none{kInteger, kBF16, 4, 0, 0, 1, 48};
  CHECK(cuda::packed_bytes(none, 64, 128) == -1);
}
