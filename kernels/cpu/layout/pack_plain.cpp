#include "kernels/cpu/layout/pack.h"

namespace mm2::kernels::layout {
namespace {

// Row i of a block, K in [k0, k0 + n) of it, n even; `from` has n_valid <= n of them.
void pack_pairs(const char* from, int64_t n, int64_t n_valid, int64_t i, char* block, int64_t k0) {
  uint16_t codes[64] = {};
  memcpy(codes, from, static_cast<size_t>(n_valid) * sizeof(uint16_t));
  char* to = block + (k0 / 2 * kBlockRows + i) * 4;
  for (int64_t k = 0; k < n; k += 2, to += kBlockRows * 4) memcpy(to, codes + k, 4);
}

void pack_floats(const char* from, int64_t n, int64_t n_valid, int64_t i, char* block, int64_t k0) {
  float codes[64] = {};
  memcpy(codes, from, static_cast<size_t>(n_valid) * sizeof(float));
  float* to = reinterpret_cast<float*>(block) + k0 * kBlockRows + i;
  for (int64_t k = 0; k < n; ++k, to += kBlockRows) *to = codes[k];
}

}  // namespace

void pack_plain(const MatrixRows& rows, const Blocks& blocks, int64_t row0, int64_t first,
                char* block) {
  constexpr int64_t kPiece = 32;  // K at a time: a cache line or two of each of the 64 rows
  const int32_t number = rows.format.number;
  const int64_t size = bytes_of(number);
  const int64_t n_rows = rows.n_rows - row0 < kBlockRows ? rows.n_rows - row0 : kBlockRows;
  if (n_rows < kBlockRows) memset(block, 0, static_cast<size_t>(blocks.bytes));
  const char* codes = static_cast<const char*>(rows.codes) + row0 * rows.n_in * size;
  for (int64_t k0 = first * blocks.record.cols; k0 < rows.n_in; k0 += kPiece) {
    const int64_t n_valid = rows.n_in - k0 < kPiece ? rows.n_in - k0 : kPiece;
    const int64_t n = round_up(n_valid, 2);
    for (int64_t i = 0; i < n_rows; ++i) {
      const char* from = codes + (i * rows.n_in + k0) * size;
      if (number == kF32) {
        pack_floats(from, n, n_valid, i, block, k0);
      } else {
        pack_pairs(from, n, n_valid, i, block, k0);
      }
    }
  }
}

}  // namespace mm2::kernels::layout
