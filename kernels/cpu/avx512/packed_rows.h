// Rows of activations as products read them, packed once for all blocks of a matrix.
//
// As floats: for each panel of 64 columns, tiles of rows of nearly equal height, one after the other;
// in a tile, for each column in the order in which columns are added (of each pair the odd one first),
// a float of each row.
// As pairs: tiles one after the other; in a tile, for each pair of columns a dword of each row: two
// BF16, the even column low.
// As integers (kI8): for each group of 128 columns tiles of rows, one after the other; in a tile a
// dword of four codes of each row 32 times, then a scale of each row, then, for each sum group of the
// weights, what the sum of each row begins with. Codes of 8 columns lie as nibbles come apart
// (0 4 1 5, 2 6 3 7), or one after the other where weights are bytes.
// Columns are in the order of the packed matrix, with zeros up to a whole sum group. Then, for floats and pairs, where the
// matrix has zeros, the sums of the activations of each sum group: [groups, rows].
#pragma once

#include "kernels/api/ops.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx512 {

constexpr int64_t kPanelCols = 64;
constexpr int32_t kMostRows = 96;    // that share one reading of a block of weights
constexpr int32_t kMostHeight = 12;  // of a tile

/// How a matrix wants its activations.
struct Packing {
  int64_t n_in;
  int32_t activations;   // kF32, kBF16, or kI8 where codes are integers
  bool pairs;            // else floats
  int32_t height;        // of the largest tile
  const int32_t* order;  // of columns, or null
  int64_t sum_cols;      // columns of a sum, 0 = no sums
  int32_t bits = 0;      // kI8: of the codes of the weights,
  int32_t zero = 0;      // and what is taken from them, or 1 where each patch has its zero
};

/// What a product reads.
struct Rows {
  const float* data;
  int32_t n;
  Packing packing;
};

/// `pairs`: products of BF16 are wanted in pairs where they are exact there.
Packing packing_of(const Matrix& w, int32_t activations, bool pairs);

/// Whether rows packed for one matrix will do for the other.
bool same_packing(const Packing& a, const Packing& b);

static inline int64_t n_panels(int64_t n_in) {
  return layout::round_up(n_in, kSumGroup) / kPanelCols;
}

/// Dwords of one row's group of kI8: codes, the scale, up to four sums to begin with.
constexpr int64_t kInt8Group = kSumGroup / 4 + 1 + 4;

/// Floats of one packed row with its sums, whatever it is packed as.
static inline int64_t packed_row_size(int64_t n_in) {
  return n_panels(n_in) * (kPanelCols + kPanelCols / 32);
}

/// Rows that are packed together: their floats fit into 1 MiB of the second-level cache.
static inline int32_t rows_together(int64_t n_in) {
  const int64_t fit =
      (int64_t{1} << 18) / (n_panels(n_in) * kPanelCols) / kMostHeight * kMostHeight;
  return static_cast<int32_t>(fit < kMostHeight ? kMostHeight : fit > kMostRows ? kMostRows : fit);
}

namespace {

/// n rows in parts of nearly equal size, at most `most` each: chunks, and tiles of a chunk.
struct Parts {
  int64_t n, count;
  Parts(int64_t n_, int64_t most) : n(n_), count((n_ + most - 1) / most) {}
  int64_t first(int64_t i) const { return n * i / count; }
  int32_t size(int64_t i) const { return static_cast<int32_t>(first(i + 1) - first(i)); }
};

/// Where each tile begins, worked out once: a division takes as long as a tenth of a tile.
struct Tiles {
  int64_t count;
  int32_t first[kMostRows + 1];

  explicit Tiles(const Parts& parts) : count(parts.count) {
    for (int64_t i = 0; i <= count; ++i) first[i] = static_cast<int32_t>(parts.first(i));
  }
  int32_t size(int64_t i) const { return first[i + 1] - first[i]; }
};

inline Parts tiles_of(const Packing& packing, int32_t n) {
  // A block has room in the registers for all its 64 rows and five pairs.
  return {n, packing.pairs && n <= 5 ? 5 : packing.height};
}

}  // namespace

/// Where group g of 128 columns of rows from t0 on lies, for kI8; the rows begin a tile.
static inline const int32_t* int8_group(const Rows& rows, int64_t g, int64_t t0) {
  return reinterpret_cast<const int32_t*>(rows.data) + kInt8Group * (g * rows.n + t0);
}

/// The sums of sum group g, one for each row.
static inline const float* group_sums(const Rows& rows, int64_t g) {
  const int64_t row = n_panels(rows.packing.n_in) * kPanelCols / (rows.packing.pairs ? 2 : 1);
  return rows.data + (row + g) * rows.n;
}

/// Panels [from, end) of n <= kMostRows rows x[t][n_in].
void pack_rows(const Packing& packing, const float* const* x, int32_t n, int64_t from, int64_t end,
               float* packed);

}  // namespace mm2::kernels::avx512
