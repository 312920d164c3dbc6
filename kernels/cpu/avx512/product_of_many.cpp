// Several rows of activations: some columns of a block become floats in the first-level cache (a
// piece), which serve one tile of up to 6 rows after the other. Pieces are small, so that memory, the
// decoding of one piece and the products of another are at work at the same time.
#include "kernels/cpu/avx512/float_codes.h"
#include "kernels/cpu/avx512/place.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::kBlockRows;

constexpr int64_t kPieceCols = kPanelCols;
constexpr int64_t kFewPieceCols = 32;  // where there is one tile only
constexpr int64_t kMostGroups = kPieceCols / 32;

// Bytes that the prefetches of one tile are ahead, as in product_of_few.cpp.
constexpr int64_t kFar = 4096, kNear = 1024;

struct Piece {
  alignas(64) float weights[kPieceCols * kBlockRows];  // [cols, 64], columns as they are added
  alignas(64) float scales[kMostGroups * kBlockRows];  // [groups, 64]
  alignas(64) float zeros[kMostGroups * kBlockRows];
};

/// A piece, or the part of it that is one sum group, and a tile of rows.
struct TileWork {
  const float* weights;  // [cols, 64]
  const float* x;        // [cols, h]
  int64_t cols;
  float* chains;        // [h, 64] sums of the group so far
  const float* zeros;   // [64] where the group begins and has zeros
  const float* x_sums;  // [h]
  bool begins;          // the group begins here; else it goes on from chains
  const float* scales;  // [64] where the group ends here; else it is put back into chains
  float* sums;          // [h, 64]
  const char* ahead;    // what is to come into the cache meanwhile,
  int64_t lines;        // in so many lines for each column
};

// use(t, v, sum) for every sum of a tile.
template <int h, typename Use>
[[gnu::always_inline]] inline void for_sums(__m512 (&sum)[h][4], const Use& use) {
#pragma GCC unroll 6
  for (int t = 0; t < h; ++t) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) use(t, v, sum[t][v]);
  }
}

template <int h>
[[gnu::always_inline]] inline void begin(const TileWork& work, __m512 (&sum)[h][4]) {
  if (!work.begins) {
    const float* from = work.chains;
    for_sums<h>(sum, [from](int t, int v, __m512& s) {
      s = _mm512_load_ps(from + t * kBlockRows + 16 * v);
    });
  } else if (work.zeros == nullptr) {
    for_sums<h>(sum, [](int, int, __m512& s) { s = _mm512_setzero_ps(); });
  } else {
    for_sums<h>(sum, [&work](int t, int v, __m512& s) {
      s = below_zero(_mm512_load_ps(work.zeros + 16 * v), work.x_sums[t]);
    });
  }
}

template <int h>
[[gnu::always_inline]] inline void end(const TileWork& work, __m512 (&sum)[h][4]) {
  if (work.scales == nullptr) {
    float* to = work.chains;
    for_sums<h>(sum, [to](int t, int v, const __m512& s) {
      _mm512_store_ps(to + t * kBlockRows + 16 * v, s);
    });
    return;
  }
  __m512 scale[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) scale[v] = _mm512_load_ps(work.scales + 16 * v);
  float* to = work.sums;
  for_sums<h>(sum, [to, &scale](int t, int v, const __m512& s) {
    float* at = to + t * kBlockRows + 16 * v;
    _mm512_store_ps(at, _mm512_add_ps(_mm512_load_ps(at), _mm512_mul_ps(scale[v], s)));
  });
}

template <int h, bool exact>
void tile(const TileWork& work) {
  __m512 sum[h][4];
  begin<h>(work, sum);
  const float *w = work.weights, *x = work.x;
  const char* ahead = work.ahead;
  for (int64_t k = 0; k < work.cols; ++k, w += kBlockRows, x += h) {
    for (int64_t line = 0; line < work.lines; ++line, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T0);
    __m512 row[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) row[v] = _mm512_load_ps(w + 16 * v);
#pragma GCC unroll 6
    for (int t = 0; t < h; ++t) {
      const __m512 factor = _mm512_set1_ps(x[t]);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[t][v] = add_product<exact>(sum[t][v], row[v], factor);
    }
  }
  end<h>(work, sum);
}

template <bool exact>
void run_tile(int32_t h, const TileWork& work) {
  constexpr decltype(&tile<1, exact>) kTiles[kFloatTile] = {tile<1, exact>, tile<2, exact>,
                                                            tile<3, exact>, tile<4, exact>,
                                                            tile<5, exact>, tile<6, exact>};
  kTiles[h - 1](work);
}

/// Columns [k0, k0 + cols) of a block: parts of one sum group, or several whole ones.
struct PieceWork {
  int64_t k0, cols;
  int64_t group_cols;  // of a sum group; 0 = one chain over the whole row

  int64_t first_group() const { return group_cols == 0 ? 0 : k0 / group_cols; }
  int64_t groups() const { return group_cols == 0 || group_cols >= cols ? 1 : cols / group_cols; }
  bool begins() const { return group_cols != 0 && k0 % group_cols == 0; }
  bool ends() const { return group_cols != 0 && (k0 + cols) % group_cols == 0; }
};

// Steps that lie one after the other.
template <bool prefetches, typename Codes>
void expand_steps(const Codes& codes, const char* at, int64_t cols, float* to) {
  constexpr int kCols = Codes::kCols;
  for (int64_t k = 0; k < cols; k += kCols, at += Codes::kStepBytes, to += kCols * kBlockRows) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
#pragma GCC unroll 4
      for (int64_t line = 64 * v; prefetches && line < Codes::kStepBytes; line += 256) {
        _mm_prefetch(at + kNear + line, _MM_HINT_T0);
        _mm_prefetch(at + kFar + line, _MM_HINT_T1);
      }
      __m512 w[kCols];
      codes.floats(at, v, w);
#pragma GCC unroll 16
      for (int j = 0; j < kCols; ++j) _mm512_store_ps(to + j * kBlockRows + 16 * v, w[j]);
    }
  }
}

template <bool prefetches, typename Codes>
void expand(const Place& place, const Codes& codes, const PieceWork& work, float* to) {
  constexpr int kCols = Codes::kCols;
  const int64_t in_record = place.blocks.record.cols;
  if (in_record == kCols) {  // a record is a step
    const char* at = place.start + work.k0 / kCols * Codes::kStepBytes;
    return expand_steps<prefetches>(codes, at, work.cols, to);
  }
  for (int64_t k = 0; k < work.cols;) {
    const int64_t in = (work.k0 + k) % in_record, left = work.cols - k;
    const int64_t cols = in_record - in < left ? in_record - in : left;
    const char* at = place.record((work.k0 + k) / in_record) + in / kCols * Codes::kStepBytes;
    expand_steps<prefetches>(codes, at, cols, to + k * kBlockRows);
    k += cols;
  }
}

void expand_scales(const Place& place, const PieceWork& work, Piece* piece) {
  for (int64_t g = 0; g < work.groups(); ++g) {
    for (int v = 0; v < 4; ++v) {
      const int64_t at = g * kBlockRows + 16 * v, r = work.first_group() + g;
      if (work.ends()) _mm512_store_ps(piece->scales + at, place.scales(0, r, v));
      if (place.w.format.zeros == 0 || !work.begins()) continue;
      _mm512_store_ps(piece->zeros + at, place.zeros(0, r, v));
    }
  }
}

// All tiles with one piece.
template <bool exact>
void add_piece(const Place& place, const Piece& piece, const PieceWork& work, const Rows& x,
               const Tiles& tiles, float* chains, float* sums) {
  const int64_t groups = work.groups(), cols = work.cols / groups;
  // The tiles share the lines of the next piece.
  const int64_t bytes = place.blocks.record.bytes * work.cols / place.blocks.record.cols;
  const char* ahead =
      place.record(0) + work.k0 * place.blocks.record.bytes / place.blocks.record.cols + bytes;
  const char* last = ahead + bytes;
  int64_t lines = (bytes / 64 + work.cols * tiles.count - 1) / (work.cols * tiles.count);
  if (tiles.count == 1) lines = 0;
  for (int64_t i = 0; i < tiles.count; ++i) {
    const int64_t t0 = tiles.first[i];
    const int32_t h = tiles.size(i);
    const float* x_tile = x.data + work.k0 / kPanelCols * kPanelCols * x.n + kPanelCols * t0 +
                          work.k0 % kPanelCols * h;
    for (int64_t g = 0; g < groups; ++g) {
      TileWork to{};
      to.weights = piece.weights + g * cols * kBlockRows;
      to.x = x_tile + g * cols * h;
      to.cols = cols;
      to.chains = chains + t0 * kBlockRows;
      to.begins = work.begins();
      if (to.begins && place.w.format.zeros != 0) {
        to.zeros = piece.zeros + g * kBlockRows;
        to.x_sums = group_sums(x, work.first_group() + g) + t0;
      }
      if (work.ends()) to.scales = piece.scales + g * kBlockRows;
      to.sums = sums + t0 * kBlockRows;
      to.ahead = ahead;
      to.lines = ahead < last ? lines : 0;
      run_tile<exact>(h, to);
      ahead += lines * cols * 64;
    }
  }
}

template <bool exact, typename Codes>
void multiply(const Place& place, const Codes& codes, const Rows& x, float* sums) {
  Piece piece;
  alignas(64) float group_chains[kMostRows * kBlockRows];
  const int64_t group_cols = sum_group(place.w.format);
  float* chains = group_cols == 0 ? sums : group_chains;
  const bool few = x.n <= kFloatTile;
  const int64_t all = place.blocks.n_records * place.blocks.record.cols;
  const int64_t most = few ? kFewPieceCols : kPieceCols;
  const Tiles tiles(tiles_of(x.packing, x.n));
  PieceWork work{0, most, group_cols};
  for (; work.k0 < all; work.k0 += most) {
    if (all - work.k0 < most) work.cols = all - work.k0;
    if (few) {
      expand<true>(place, codes, work, piece.weights);
    } else {
      expand<false>(place, codes, work, piece.weights);
    }
    if (group_cols != 0) expand_scales(place, work, &piece);
    add_piece<exact>(place, piece, work, x, tiles, chains, sums);
  }
}

}  // namespace

void product_of_many(const Matrix& w, int64_t block, const Rows& x, float* sums) {
  const Place place(w, block);
  const bool exact = is_exact(w.format, x.packing.activations);
  for (int64_t i = 0; i < x.n * kBlockRows; i += 16) {
    _mm512_store_ps(sums + i, _mm512_setzero_ps());
  }
  with_codes(w.format, [&](const auto& codes) {
    if (exact) {
      multiply<true>(place, codes, x, sums);
    } else {
      multiply<false>(place, codes, x, sums);
    }
  });
}

}  // namespace mm2::kernels::avx512
