// Codes of 4 bits from the words of a checkpoint into steps of 64 dwords, one for each row
// (kernels/cpu/layout/weights.h), without a byte for each in between.
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/transpose.h"
#include "kernels/cpu/common/pack.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::Blocks;
using layout::kBlockRows;

constexpr int64_t kStepCols = 8;

/// Where steps of some blocks go.
struct Steps {
  const Blocks blocks;
  int64_t in_record;
  char* first;  // block of the rows

  Steps(const MatrixRows& rows, void* packed)
      : blocks(layout::blocks_of(rows.format, rows.n_out, rows.n_in)),
        in_record(blocks.record.cols / kStepCols),
        first(static_cast<char*>(packed) + rows.first_row / kBlockRows * blocks.bytes) {}
  int64_t offset(int64_t step) const {
    return step / in_record * blocks.record.bytes + step % in_record * 4 * kBlockRows;
  }
};

// Of nibbles K 0 .. 7 the even ones into the low word, the odd ones into the high word.
inline __m512i part_nibbles(__m512i v) {
  const __m512i low = _mm512_set1_epi8(15);
  const __m512i weights = _mm512_set1_epi16(16 << 8 | 1);
  const __m512i together =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
  const __m512i even = _mm512_maddubs_epi16(_mm512_and_si512(v, low), weights);
  const __m512i odd = _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16(v, 4), low), weights);
  return _mm512_shuffle_epi8(_mm512_packus_epi16(even, odd), together);
}

// Rows one after the other: squares of 16 rows by 16 steps.
template <bool of_ring>
void pack_rows_of_nibbles(const MatrixRows& rows, const Steps& steps) {
  const char* words = static_cast<const char*>(rows.codes);  // at any address
  for (int64_t row = 0; row < rows.n_rows; row += kBlockRows) {
    char* block = steps.first + row / kBlockRows * steps.blocks.bytes;
    for (int64_t s0 = 0; s0 < rows.n_in / kStepCols; s0 += 16) {
      char* to[16];
      for (int64_t s = 0; s < 16; ++s) to[s] = block + steps.offset(s0 + s);
      for (int64_t i = 0; i < kBlockRows; i += 16) {
        const char* from = words + 4 * ((row + i) * rows.code_stride + s0);
        __m512i v[16];
        for (int64_t r = 0; r < 16; ++r, from += 4 * rows.code_stride) {
          _mm_prefetch(from + 128, _MM_HINT_T0);
          v[r] = part_nibbles(_mm512_loadu_si512(from));
          if (of_ring) v[r] = ring(v[r]);
        }
        transpose(v);
        for (int s = 0; s < 16; ++s) stream(to[s] + 4 * i, v[s]);
      }
    }
  }
}

// GPTQ has steps already: 16 rows in each vector, in another order of nibbles.
void pack_words(const MatrixRows& rows, const Steps& steps) {
  constexpr int64_t kAhead = 8;
  const auto* words = static_cast<const uint32_t*>(rows.codes);
  for (int64_t s = 0; s < rows.n_in / kStepCols; ++s, words += rows.code_stride) {
    char* to = steps.first + steps.offset(s);
    for (int64_t row = 0; row < rows.n_rows; row += kBlockRows, to += steps.blocks.bytes) {
      for (int64_t i = 0; i < kBlockRows; i += 16) {
        _mm_prefetch(words + kAhead * rows.code_stride + row + i, _MM_HINT_T0);
        stream(to + 4 * i, part_nibbles(_mm512_loadu_si512(words + row + i)));
      }
    }
  }
}

// The same with columns in another order: eight words give a nibble each.
void pack_ordered_words(const MatrixRows& rows, const Steps& steps) {
  const auto* words = static_cast<const uint32_t*>(rows.codes);
  for (int64_t s = 0; s < rows.n_in / kStepCols; ++s) {
    const uint32_t *from[kStepCols], *next[kStepCols];
    __m512i turn[kStepCols];
    const int64_t k = s * kStepCols, ahead = k + kStepCols < rows.n_in ? kStepCols : 0;
    for (int i = 0; i < kStepCols; ++i) {  // nibble i of a step's dword
      const int32_t* column = rows.order + k + (i < 4 ? 2 * i : 2 * i - 7);
      from[i] = words + *column / 8 * rows.code_stride;
      next[i] = words + column[ahead] / 8 * rows.code_stride;
      turn[i] = _mm512_set1_epi32(4 * (i - *column % 8));
    }
    char* to = steps.first + steps.offset(s);
    for (int64_t row = 0; row < rows.n_rows; row += kBlockRows, to += steps.blocks.bytes) {
      for (int64_t r = 0; r < kBlockRows; r += 16) {
        __m512i v = _mm512_setzero_si512();
        for (int i = 0; i < kStepCols; ++i) {
          _mm_prefetch(next[i] + row + r, _MM_HINT_T0);
          const __m512i word = _mm512_loadu_si512(from[i] + row + r);
          const __m512i nibble = _mm512_set1_epi32(static_cast<int>(15u << (4 * i)));
          // Of v what is outside of the nibble, of the word what is inside.
          v = _mm512_ternarylogic_epi32(nibble, _mm512_rolv_epi32(word, turn[i]), v, 0xCA);
        }
        stream(to + 4 * r, v);
      }
    }
  }
}

// Nibble p of each dword of v[i] becomes nibble i of v[p].
inline void transpose_nibbles(__m512i v[8]) {
  for (int i = 0; i < 4; ++i) {
    const __m512i x = v[i], y = v[i + 4];
    v[i] = _mm512_mask_blend_epi16(0xAAAAAAAAu, x, _mm512_slli_epi32(y, 16));
    v[i + 4] = _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_srli_epi32(x, 16), y);
  }
  for (int i = 0; i < 8; i += i % 4 == 1 ? 3 : 1) {
    const __m512i x = v[i], y = v[i + 2];
    v[i] = _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAAu, x, _mm512_slli_epi16(y, 8));
    v[i + 2] = _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAAu, _mm512_srli_epi16(x, 8), y);
  }
  const __m512i low = _mm512_set1_epi8(15);
  for (int i = 0; i < 8; i += 2) {
    const __m512i x = v[i], y = v[i + 1];
    // Of each byte the low four bits of the second operand, the high ones of the third.
    v[i] = _mm512_ternarylogic_epi32(low, x, _mm512_slli_epi16(y, 4), 0xCA);
    v[i + 1] = _mm512_ternarylogic_epi32(low, _mm512_srli_epi16(x, 4), y, 0xCA);
  }
}

// Dword r of v[j] becomes dword 8 r + j of all: v[0 .. 3] are r 0 .. 7, v[4 .. 7] the others.
inline void join_eight(__m512i v[8]) {
  __m512i quads[8];  // [4 half + q]: rows 4 half .. + 3 of dwords q, 4 + q, 8 + q, 12 + q
  for (int half = 0; half < 2; ++half) {
    const __m512i* from = v + 4 * half;
    const __m512i a = _mm512_unpacklo_epi32(from[0], from[1]);
    const __m512i b = _mm512_unpackhi_epi32(from[0], from[1]);
    const __m512i c = _mm512_unpacklo_epi32(from[2], from[3]);
    const __m512i d = _mm512_unpackhi_epi32(from[2], from[3]);
    quads[4 * half] = _mm512_unpacklo_epi64(a, c);
    quads[4 * half + 1] = _mm512_unpackhi_epi64(a, c);
    quads[4 * half + 2] = _mm512_unpacklo_epi64(b, d);
    quads[4 * half + 3] = _mm512_unpackhi_epi64(b, d);
  }
  // Lane l of q, then of its second half, then of q + 1: dwords 4 l + q and 4 l + q + 1.
  for (int q = 0; q < 4; q += 2) {
    const __m512i *x = quads + q, *y = quads + 4 + q;
    const __m512i a = _mm512_shuffle_i32x4(x[0], y[0], 0x88),
                  b = _mm512_shuffle_i32x4(x[0], y[0], 0xDD);
    const __m512i c = _mm512_shuffle_i32x4(x[1], y[1], 0x88),
                  d = _mm512_shuffle_i32x4(x[1], y[1], 0xDD);
    // a: x0[0] x0[2] y0[0] y0[2]; b: x0[1] x0[3] y0[1] y0[3]; c and d of x1, y1
    const int at = q / 2;
    v[at] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[at + 4] = _mm512_shuffle_i32x4(a, c, 0xDD);
    v[at + 2] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[at + 6] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
}

// AWQ: eight columns of 128 rows at a time, or of 64.
void pack_eights(const MatrixRows& rows, const Steps& steps) {
  constexpr int kColumn[] = {0, 2, 4, 6, 1, 3, 5, 7};  // of each nibble of a step's dword
  constexpr int kNibble[] = {0, 4, 1, 5, 2, 6, 3, 7};  // of each row in a word
  const auto* words = static_cast<const uint32_t*>(rows.codes);
  for (int64_t s = 0; s < rows.n_in / kStepCols; ++s, words += kStepCols * rows.code_stride) {
    for (int64_t row = 0; row < rows.n_rows; row += 2 * kBlockRows) {
      const bool both = rows.n_rows - row > kBlockRows;
      __m512i v[8], of_rows[8];
      for (int i = 0; i < 8; ++i) {
        const uint32_t* from = words + kColumn[i] * rows.code_stride + row / 8;
        _mm_prefetch(from + 32 * rows.code_stride, _MM_HINT_T0);
        v[i] = _mm512_maskz_loadu_epi32(both ? 0xFFFFu : 0xFFu, from);
      }
      transpose_nibbles(v);
      for (int j = 0; j < 8; ++j) of_rows[j] = v[kNibble[j]];
      join_eight(of_rows);
      char* to = steps.first + row / kBlockRows * steps.blocks.bytes + steps.offset(s);
      for (int i = 0; i < 4; ++i) {
        stream(to + 64 * i, of_rows[i]);
        if (both) stream(to + steps.blocks.bytes + 64 * i, of_rows[4 + i]);
      }
    }
  }
}

}  // namespace

void pack_nibbles(const MatrixRows& rows, void* packed) {
  const Steps steps(rows, packed);
  const bool of_ring = layout::codes_of(rows.format) == layout::kRing;
  switch (rows.code_layout) {
    case kNibblesOfRows:
      return of_ring ? pack_rows_of_nibbles<true>(rows, steps)
                     : pack_rows_of_nibbles<false>(rows, steps);
    case kNibblesOfWords:
      return rows.format.ordered != 0 ? pack_ordered_words(rows, steps) : pack_words(rows, steps);
    default:
      return pack_eights(rows, steps);
  }
}

}  // namespace mm2::kernels::avx512
