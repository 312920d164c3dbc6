#include "kernels/cpu/avx512/packed_rows.h"

#include <immintrin.h>

#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

constexpr int64_t kPiece = 16;  // dwords of a row at a time

/// For a tile of h rows, whose pieces of 16 dwords lie one after the other: which of them stands where
/// in the packed piece [16, h].
struct PieceOrder {
  alignas(64) int32_t at[kMostHeight + 1][kPiece * kMostHeight];

  constexpr PieceOrder() : at() {
    for (int h = 1; h <= kMostHeight; ++h) {
      for (int i = 0; i < kPiece * h; ++i) at[h][i] = static_cast<int32_t>(i % h * kPiece + i / h);
    }
  }
};
constexpr PieceOrder kOrder;

// f32_to_bf16 of 16 numbers, in the upper halves.
inline __m512i round_bf16(__m512i bits) {
  const __m512i size = _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF));
  const __mmask16 nan = _mm512_cmpgt_epi32_mask(size, _mm512_set1_epi32(0x7F800000));
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  sum = _mm512_mask_or_epi32(sum, nan, bits, _mm512_set1_epi32(0x00400000));
  return _mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)));
}

// Columns [k, k + 16) of a row, rounded; zeros from n_in on.
inline __m512i load_columns(const Packing& packing, const float* x, int64_t k) {
  const int64_t left = packing.n_in - k;
  const uint32_t some = left >= 16 ? 0xFFFFu : left <= 0 ? 0u : (1u << left) - 1u;
  const auto mask = static_cast<__mmask16>(some);
  const int64_t from = some == 0 ? 0 : k;
  __m512 columns;
  if (packing.order == nullptr) {
    columns = _mm512_maskz_loadu_ps(mask, x + from);
  } else {
    const __m512i index = _mm512_maskz_loadu_epi32(mask, packing.order + from);
    columns = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, index, x, 4);
  }
  const __m512i bits = _mm512_castps_si512(columns);
  return packing.activations == kBF16 ? round_bf16(bits) : bits;
}

// 16 dwords of a row: floats, of each pair of columns the odd one first, or pairs.
inline __m512i load_piece(const Packing& packing, const float* x, int64_t k) {
  const __m512i columns = load_columns(packing, x, k);
  if (!packing.pairs) return _mm512_shuffle_epi32(columns, _MM_PERM_CDAB);
  const __m512i next = load_columns(packing, x, k + 16);
  const __m256i low = _mm512_cvtepi32_epi16(_mm512_srli_epi32(columns, 16));
  const __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(next, 16));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// One panel of h rows: [dwords, h].
void pack_tile(const Packing& packing, const float* const* x, int32_t h, int64_t k0, float* to) {
  alignas(64) int32_t rows[kPiece * kMostHeight];
  const int64_t cols = packing.pairs ? 2 * kPiece : kPiece;
  for (int64_t k = k0; k < k0 + kPanelCols; k += cols, to += kPiece * h) {
    if (h == 1) {
      _mm512_storeu_si512(to, load_piece(packing, x[0], k));
      continue;
    }
    for (int32_t t = 0; t < h; ++t) {
      _mm512_store_si512(rows + kPiece * t, load_piece(packing, x[t], k));
    }
    for (int32_t i = 0; i < h; ++i) {
      const __m512i index = _mm512_load_si512(kOrder.at[h] + kPiece * i);
      _mm512_storeu_si512(to + kPiece * i, _mm512_i32gather_epi32(index, rows, 4));
    }
  }
}

// The sums of columns [k, k + cols) of h rows in the order of products: as many chains as rows.
void sum_columns(const Packing& packing, const float* const* x, int32_t h, int64_t k, int64_t cols,
                 float* sums) {
  alignas(64) float numbers[kMostHeight][kSumGroup];
  for (int32_t t = 0; t < h; ++t) {
    for (int64_t i = 0; i < cols; i += 16) {
      _mm512_store_si512(numbers[t] + i, load_columns(packing, x[t], k + i));
    }
    sums[t] = 0.0f;
  }
  for (int64_t i = 0; i < cols; ++i) {
    for (int32_t t = 0; t < h; ++t) sums[t] += numbers[t][i ^ 1];
  }
}

}  // namespace

bool same_packing(const Packing& a, const Packing& b) {
  if (a.n_in != b.n_in || a.activations != b.activations || a.pairs != b.pairs) return false;
  if (a.height != b.height || a.sum_cols != b.sum_cols) return false;
  if (a.order == nullptr || b.order == nullptr) return a.order == b.order;
  return memcmp(a.order, b.order, static_cast<size_t>(a.n_in) * 4) == 0;
}

Packing packing_of(const Matrix& w, int32_t activations, bool pairs) {
  const Format& f = w.format;
  Packing p{w.n_in, activations, false, kFloatTile, layout::order_of(w), 0};
  if (f.zeros != 0) p.sum_cols = sum_group(f);
  // Numbers that are exact in BF16: all but plain F32 and F16.
  if (!pairs || activations != kBF16 || (is_plain(f) && f.number != kBF16)) return p;
  p.pairs = true;
  p.height = pair_tile(f);
  return p;
}

void pack_rows(const Packing& packing, const float* const* x, int32_t n, int64_t from, int64_t end,
               float* packed) {
  const Parts tiles = tiles_of(packing, n);
  const int64_t panel = packing.pairs ? kPanelCols / 2 : kPanelCols;  // dwords of a row
  const int64_t row = panel * n_panels(packing.n_in);
  for (int64_t p = from; p < end; ++p) {
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t t0 = tiles.first(i);
      const int32_t h = tiles.size(i);
      float* to = packed + (packing.pairs ? row * t0 + panel * p * h : panel * (p * n + t0));
      pack_tile(packing, x + t0, h, p * kPanelCols, to);
      // The sums of groups that begin in this panel.
      const int64_t cols = packing.sum_cols, k0 = p * kPanelCols;
      if (cols == 0) continue;
      for (int64_t g = (k0 + cols - 1) / cols; g * cols < k0 + kPanelCols; ++g) {
        sum_columns(packing, x + t0, h, g * cols, cols, packed + (row + g) * n + t0);
      }
    }
  }
}

}  // namespace mm2::kernels::avx512
