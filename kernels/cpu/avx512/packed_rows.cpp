#include "kernels/cpu/avx512/packed_rows.h"

#include <immintrin.h>

#include "kernels/cpu/avx512/product.h"
#include "kernels/cpu/common/int8_rows.h"

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

inline __m512 as_floats(__m512i bits) {
  return _mm512_castsi512_ps(bits);
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

// 128 columns of a row from k0 on as 32 dwords of codes, in the order that their weights want; returns
// their scale.
float quantize(const Packing& packing, const float* x, int64_t k0, int32_t* to) {
  constexpr int kVectors = kSumGroup / 16;
  const __m128i of_nibbles = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  __m512i numbers[kVectors], most = _mm512_setzero_si512();
  for (int i = 0; i < kVectors; ++i) {
    numbers[i] = load_columns(packing, x, k0 + 16 * i);
    const __m512i size = _mm512_and_si512(numbers[i], _mm512_set1_epi32(0x7FFFFFFF));
    most = _mm512_max_epi32(most, size);
  }
  const auto of = common::int8_scale(static_cast<uint32_t>(_mm512_reduce_max_epi32(most)));
  const __m512 inverse = _mm512_set1_ps(of.inverse);
  for (int i = 0; i < kVectors; ++i) {
    const __m512i codes = _mm512_cvtps_epi32(_mm512_mul_ps(as_floats(numbers[i]), inverse));
    __m128i bytes = _mm512_cvtepi32_epi8(codes);
    if (packing.bits == 4) bytes = _mm_shuffle_epi8(bytes, of_nibbles);
    if (of.inverse == 0) bytes = _mm_setzero_si128();
    _mm_store_si128(reinterpret_cast<__m128i*>(to + 4 * i), bytes);
  }
  return of.scale;
}

// The sum of so many codes.
int32_t sum_codes(const int32_t* codes, int64_t n) {
  const __m256i ones = _mm256_set1_epi8(1), words = _mm256_set1_epi16(1);
  __m256i sums = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += 32) {
    const auto* at = reinterpret_cast<const __m256i*>(codes + i / 4);
    const __m256i pairs = _mm256_maddubs_epi16(ones, _mm256_load_si256(at));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, words));
  }
  return _mm512_reduce_add_epi32(_mm512_zextsi256_si512(sums));
}

// One group of h rows.
void pack_int8_tile(const Packing& packing, const float* const* x, int32_t h, int64_t g,
                    int32_t* to) {
  constexpr int64_t kDwords = kSumGroup / 4;
  alignas(64) int32_t rows[kFloatTile][kDwords];
  int32_t* scales = to + kDwords * h;
  int32_t* starts = scales + h;
  for (int32_t t = 0; t < h; ++t) {
    const float scale = quantize(packing, x[t], g * kSumGroup, rows[t]);
    memcpy(scales + t, &scale, 4);
    const int64_t cols = packing.sum_cols;
    for (int64_t k = 0; k < kSumGroup; k += cols) {
      starts[k / cols * h + t] = -packing.zero * sum_codes(rows[t] + k / 4, cols);
    }
  }
  for (int64_t d = 0; d < kDwords; ++d) {
    for (int32_t t = 0; t < h; ++t) to[d * h + t] = rows[t][d];
  }
}

// The groups that begin in panels [from, end).
void pack_int8(const Packing& packing, const float* const* x, int32_t n, int64_t from, int64_t end,
               float* packed) {
  const Parts tiles = tiles_of(packing, n);
  int32_t* to = reinterpret_cast<int32_t*>(packed);
  for (int64_t g = (from + 1) / 2; 2 * g < end; ++g) {
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t t0 = tiles.first(i);
      pack_int8_tile(packing, x + t0, tiles.size(i), g, to + kInt8Group * (g * n + t0));
    }
  }
}

}  // namespace

bool same_packing(const Packing& a, const Packing& b) {
  if (a.n_in != b.n_in || a.activations != b.activations || a.pairs != b.pairs) return false;
  if (a.height != b.height || a.sum_cols != b.sum_cols) return false;
  if (a.bits != b.bits || a.zero != b.zero) return false;
  if (a.order == nullptr || b.order == nullptr) return a.order == b.order;
  return memcmp(a.order, b.order, static_cast<size_t>(a.n_in) * 4) == 0;
}

Packing packing_of(const Matrix& w, int32_t activations, bool pairs) {
  const Format& f = w.format;
  activations = entering(f, activations);
  Packing p{w.n_in, activations, false, kFloatTile, layout::order_of(w), 0};
  if (activations == kI8) {
    p.sum_cols = sum_group(f);
    p.bits = f.bits;
    p.zero = f.zeros != 0 ? 1 : 1 << (f.bits - 1);
    return p;
  }
  if (f.zeros != 0) p.sum_cols = sum_group(f);
  // Numbers that are exact in BF16: all but plain F32 and F16.
  if (!pairs || activations != kBF16 || (is_plain(f) && f.number != kBF16)) return p;
  p.pairs = true;
  p.height = pair_tile(f);
  return p;
}

void pack_rows(const Packing& packing, const float* const* x, int32_t n, int64_t from, int64_t end,
               float* packed) {
  if (packing.activations == kI8) return pack_int8(packing, x, n, from, end, packed);
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
