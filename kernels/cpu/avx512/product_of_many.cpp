// Several rows of activations: 128 columns of a block become floats in the first-level cache (a
// panel), which serve one tile of up to 6 rows after the other.
#include "kernels/cpu/avx512/float_codes.h"
#include "kernels/cpu/avx512/place.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::kBlockRows;

struct Panel {
  alignas(64) float weights[kPanelCols * kBlockRows];  // [cols, 64], columns as they are added
  alignas(64) float scales[4 * kBlockRows];            // [groups, 64]
  alignas(64) float zeros[4 * kBlockRows];
};

/// A tile of rows and a panel.
struct TileWork {
  const Panel* panel;
  const float* x;       // [cols, h]
  const float* x_sums;  // [groups, ...] at a distance of n_rows, null without zeros
  int64_t n_rows;
  int64_t cols, groups;  // columns of a group; groups 0: the chain goes on from sums
  float* sums;           // [h, 64]
  const char* ahead;     // what this tile brings into the cache
  int64_t lines;         // lines of it for each column
};

template <int h, bool exact>
[[gnu::always_inline]] inline void add_columns(const TileWork& work, const float* w, const float* x,
                                               const char* ahead, __m512 (&sum)[h][4]) {
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
}

template <int h, bool exact>
void chain_tile(const TileWork& work) {
  __m512 sum[h][4];
#pragma GCC unroll 6
  for (int t = 0; t < h; ++t) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sum[t][v] = _mm512_load_ps(work.sums + t * kBlockRows + 16 * v);
  }
  add_columns<h, exact>(work, work.panel->weights, work.x, work.ahead, sum);
#pragma GCC unroll 6
  for (int t = 0; t < h; ++t) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) _mm512_store_ps(work.sums + t * kBlockRows + 16 * v, sum[t][v]);
  }
}

template <int h, bool exact>
void group_tile(const TileWork& work) {
  for (int64_t g = 0; g < work.groups; ++g) {
    __m512 sum[h][4];
#pragma GCC unroll 6
    for (int t = 0; t < h; ++t) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        sum[t][v] = _mm512_setzero_ps();
        if (work.x_sums == nullptr) continue;
        sum[t][v] = below_zero(_mm512_load_ps(work.panel->zeros + g * kBlockRows + 16 * v),
                               work.x_sums[g * work.n_rows + t]);
      }
    }
    add_columns<h, exact>(work, work.panel->weights + g * work.cols * kBlockRows,
                          work.x + g * work.cols * h, work.ahead + g * work.cols * work.lines * 64,
                          sum);
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const __m512 scale = _mm512_load_ps(work.panel->scales + g * kBlockRows + 16 * v);
#pragma GCC unroll 6
      for (int t = 0; t < h; ++t) {
        float* to = work.sums + t * kBlockRows + 16 * v;
        _mm512_store_ps(to, _mm512_add_ps(_mm512_load_ps(to), _mm512_mul_ps(scale, sum[t][v])));
      }
    }
  }
}

template <bool exact>
void run_tile(int32_t h, const TileWork& work) {
  using Tile = decltype(&chain_tile<1, exact>);
  constexpr Tile kChains[kFloatTile] = {chain_tile<1, exact>, chain_tile<2, exact>,
                                        chain_tile<3, exact>, chain_tile<4, exact>,
                                        chain_tile<5, exact>, chain_tile<6, exact>};
  constexpr Tile kGroups[kFloatTile] = {group_tile<1, exact>, group_tile<2, exact>,
                                        group_tile<3, exact>, group_tile<4, exact>,
                                        group_tile<5, exact>, group_tile<6, exact>};
  (work.groups == 0 ? kChains : kGroups)[h - 1](work);
}

// Records [r, r + n) as floats.
template <typename Codes>
void expand(const Place& place, const Codes& codes, int64_t r, int64_t n, float* to) {
  constexpr int kCols = Codes::kCols;
  const int64_t steps = place.blocks.record.cols / kCols;
  for (int64_t i = 0; i < n; ++i) {
    const char* at = place.record(r + i);
    for (int64_t s = 0; s < steps; ++s, at += Codes::kStepBytes, to += kCols * kBlockRows) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        __m512 w[kCols];
        codes.floats(at, v, w);
#pragma GCC unroll 16
        for (int j = 0; j < kCols; ++j) _mm512_store_ps(to + j * kBlockRows + 16 * v, w[j]);
      }
    }
  }
}

void expand_scales(const Place& place, int64_t r, int64_t n, Panel* panel) {
  for (int64_t i = 0; i < n; ++i) {
    for (int v = 0; v < 4; ++v) {
      const int64_t at = i * kBlockRows + 16 * v;
      _mm512_store_ps(panel->scales + at, place.scales(0, r + i, v));
      if (place.w.format.zeros != 0) _mm512_store_ps(panel->zeros + at, place.zeros(0, r + i, v));
    }
  }
}

// All tiles with one panel, records [r, r + n_records) of it.
template <bool exact>
void add_panel(const Place& place, const Panel& panel, int64_t r, int64_t n_records, const Rows& x,
               float* sums) {
  const layout::Blocks& blocks = place.blocks;
  const bool grouped = sum_group(place.w.format) != 0, zeros = place.w.format.zeros != 0;
  const int64_t cols = blocks.record.cols, k0 = r * cols;
  const Parts tiles = tiles_of(x.packing, x.n);
  TileWork work{&panel, nullptr, nullptr, x.n, cols, n_records, nullptr, nullptr, 0};
  if (!grouped) work.cols = n_records * cols, work.groups = 0;
  // The tiles share the next panel's lines.
  const int64_t lines = n_records * blocks.record.bytes / 64, steps = n_records * cols;
  work.lines = (lines + steps * tiles.count - 1) / (steps * tiles.count);
  work.ahead = place.record(r + n_records);
  for (int64_t i = 0; i < tiles.count; ++i) {
    const int64_t t0 = tiles.first(i);
    work.x = x.data + k0 * x.n + kPanelCols * t0;
    work.sums = sums + t0 * kBlockRows;
    if (zeros) work.x_sums = group_sums(x, r) + t0;
    run_tile<exact>(tiles.size(i), work);
    work.ahead += work.lines * steps * 64;
    if (work.ahead >= place.record(r + 2 * n_records)) work.lines = 0;
  }
}

}  // namespace

void product_of_many(const Matrix& w, int64_t block, const Rows& x, float* sums) {
  Panel panel;
  const Place place(w, block);
  const bool exact = is_exact(w.format, x.packing.activations);
  const int64_t n_records = place.blocks.n_records,
                in_panel = kPanelCols / place.blocks.record.cols;
  for (int64_t i = 0; i < x.n * kBlockRows; i += 16) {
    _mm512_store_ps(sums + i, _mm512_setzero_ps());
  }
  with_codes(w.format, [&](const auto& codes) {
    for (int64_t r = 0; r < n_records; r += in_panel) {
      const int64_t records = n_records - r < in_panel ? n_records - r : in_panel;
      expand(place, codes, r, records, panel.weights);
      if (sum_group(w.format) != 0) expand_scales(place, r, records, &panel);
      if (exact) {
        add_panel<true>(place, panel, r, records, x, sums);
      } else {
        add_panel<false>(place, panel, r, records, x, sums);
      }
    }
  });
}

}  // namespace mm2::kernels::avx512
