// A tile of rows by 32 or 64 outputs stays in registers over all K; weights are decoded as they come,
// in execution units that vdpbf16ps leaves free. One row is a tile of one.
#include "kernels/cpu/avx512/pair_codes.h"
#include "kernels/cpu/avx512/place.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::Blocks;
using layout::kBlockRows;

constexpr int64_t kAhead = 4096;  // bytes that the prefetch is ahead for few rows
constexpr int kFew = 5;           // rows that take 64 outputs at once

template <typename Codes, int h, int V, int p>
[[gnu::always_inline]] inline void add_pairs(const Codes& codes, const char* step, int v0,
                                             const int32_t* x, __m512 (&sum)[h][V]) {
  if constexpr (p < Codes::kPairs) {
    __m512bh w[V];
    for (int v = 0; v < V; ++v) w[v] = (__m512bh)codes.template pair<p>(step, v0 + v);
#pragma GCC unroll 16
    for (int t = 0; t < h; ++t) {
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(x[p * h + t]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[t][v] = _mm512_dpbf16_ps(sum[t][v], w[v], factor);
    }
    add_pairs<Codes, h, V, p + 1>(codes, step, v0, x, sum);
  }
}

/// Rows of activations from t0 on.
struct PairTile {
  const Rows& rows;
  int64_t t0;
  const int32_t* x;

  PairTile(const Rows& rows_, int64_t t0_)
      : rows(rows_), t0(t0_), x(reinterpret_cast<const int32_t*>(rows_.data)) {
    x += t0 * n_panels(rows.packing.n_in) * (kPanelCols / 2);
  }
};

// Where the chain of row t of a tile starts in record r.
inline __m512 first_sum(const Place& place, const PairTile& of, int64_t r, int v, int t) {
  if (place.w.format.zeros == 0) return _mm512_setzero_ps();
  return below_zero(place.zeros(0, r, v), group_sums(of.rows, r)[of.t0 + t]);
}

// Outputs 16 v0 .. 16 (v0 + V) - 1. ahead: bytes, 0 = no prefetch.
template <typename Codes, int h, int V>
void tile(const Codes& codes, const Place& place, int v0, const PairTile& of, int64_t ahead,
          float* sums) {
  const int32_t* x = of.x;
  const int64_t t0 = of.t0;
  const Blocks& blocks = place.blocks;
  const bool grouped = sum_group(place.w.format) != 0;
  const int64_t steps = blocks.record.cols / (2 * Codes::kPairs);
  float* to = sums + t0 * kBlockRows + 16 * v0;
  __m512 sum[h][V];
  for (int t = 0; t < h; ++t) {
    for (int v = 0; v < V; ++v) {
      sum[t][v] = _mm512_setzero_ps();
      _mm512_storeu_ps(to + t * kBlockRows + 16 * v, sum[t][v]);
    }
  }
  for (int64_t r = 0; r < blocks.n_records; ++r) {
    const char* at = place.start + r * blocks.record.bytes;
    if (grouped) {
#pragma GCC unroll 16
      for (int t = 0; t < h; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[t][v] = first_sum(place, of, r, v0 + v, t);
      }
    }
    for (int64_t s = 0; s < steps; ++s, at += Codes::kStepBytes, x += Codes::kPairs * h) {
      if (ahead != 0) {
        for (int64_t line = 0; line < Codes::kStepBytes * V / 4; line += 64) {
          _mm_prefetch(at + ahead + 64 * v0 * (Codes::kStepBytes / 256) + line, _MM_HINT_T0);
        }
      }
      add_pairs<Codes, h, V, 0>(codes, at, v0, x, sum);
    }
    if (!grouped) continue;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m512 scale = place.scales(0, r, v0 + v);
#pragma GCC unroll 16
      for (int t = 0; t < h; ++t) {
        float* total = to + t * kBlockRows + 16 * v;
        _mm512_storeu_ps(total,
                         _mm512_add_ps(_mm512_loadu_ps(total), _mm512_mul_ps(scale, sum[t][v])));
      }
    }
  }
  if (grouped) return;
  for (int t = 0; t < h; ++t) {
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(to + t * kBlockRows + 16 * v, sum[t][v]);
  }
}

template <typename Codes, int V>
using Tile = decltype(&tile<Codes, 1, V>);

template <typename Codes>
void multiply(const Codes& codes, const Place& place, const Rows& x, float* sums) {
  constexpr Tile<Codes, 4> kFewTiles[kFew] = {tile<Codes, 1, 4>, tile<Codes, 2, 4>,
                                              tile<Codes, 3, 4>, tile<Codes, 4, 4>,
                                              tile<Codes, 5, 4>};
  constexpr Tile<Codes, 2> kTiles[] = {tile<Codes, 1, 2>,  tile<Codes, 2, 2>,  tile<Codes, 3, 2>,
                                       tile<Codes, 4, 2>,  tile<Codes, 5, 2>,  tile<Codes, 6, 2>,
                                       tile<Codes, 7, 2>,  tile<Codes, 8, 2>,  tile<Codes, 9, 2>,
                                       tile<Codes, 10, 2>, tile<Codes, 11, 2>, tile<Codes, 12, 2>};
  if (x.n <= kFew) return kFewTiles[x.n - 1](codes, place, 0, PairTile(x, 0), kAhead, sums);
  // The first tile of each half asks for the same half of the next block.
  const Parts tiles = tiles_of(x.packing, x.n);
  for (int v0 = 0; v0 < 4; v0 += 2) {
    for (int64_t i = 0; i < tiles.count; ++i) {
      kTiles[tiles.size(i) - 1](codes, place, v0, PairTile(x, tiles.first(i)),
                                i == 0 ? place.blocks.bytes : 0, sums);
    }
  }
}

}  // namespace

int32_t pair_tile(const Format& f) {
  switch (layout::codes_of(f)) {
    case layout::kRing:
      return RingCodes::kTile;
    case layout::kBytes:
      return f.scheme == kFp8 ? Fp8Codes::kTile : Int8Codes::kTile;
    default:
      return Bf16Codes::kTile;
  }
}

void product_of_pairs(const Matrix& w, int64_t block, const Rows& x, float* sums) {
  const Place place(w, block);
  const Format& f = w.format;
  const bool zeros = f.zeros != 0;
  switch (layout::codes_of(f)) {
    case layout::kNumbers:
      return multiply(Bf16Codes{}, place, x, sums);
    case layout::kNibbles:
      if (f.scheme == kFp4) return multiply(mxfp4_codes(), place, x, sums);
      return multiply(int4_codes(zeros ? 0.0f : 8.0f), place, x, sums);
    case layout::kBytes:
      if (f.scheme == kFp8) return multiply(Fp8Codes{}, place, x, sums);
      return multiply(Int8Codes(zeros ? 0.0f : 128.0f), place, x, sums);
    case layout::kRing:
      return multiply(RingCodes{}, place, x, sums);
  }
}

}  // namespace mm2::kernels::avx512
