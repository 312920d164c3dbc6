// How packed integers become unsigned bytes of four columns in a dword, 16 rows at a time, as vpdpbusd
// takes them. A type of codes has
//   kCols               columns of one step
//   kDwords             dwords of a row in it
//   bytes(step, v, w)   rows 16 v .. 16 v + 15 of a step of 256 bytes: w[kDwords]
#pragma once

#include <immintrin.h>

#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx512 {
namespace {

constexpr int64_t kInt8StepBytes = 4 * layout::kBlockRows;

/// Columns 0 4 1 5, then 2 6 3 7.
struct NibbleBytes {
  static constexpr int kCols = 8;
  static constexpr int kDwords = 2;
  [[gnu::always_inline]] void bytes(const char* step, int v, __m512i* w) const {
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i c = _mm512_loadu_si512(step + 64 * v);
    w[0] = _mm512_and_si512(c, low);
    w[1] = _mm512_and_si512(_mm512_srli_epi16(c, 4), low);
  }
};

/// Columns 0 and 1 of four rows, then 2 and 3 of them: brought together.
struct WholeBytes {
  static constexpr int kCols = 4;
  static constexpr int kDwords = 1;
  [[gnu::always_inline]] void bytes(const char* step, int v, __m512i* w) const {
    const __m512i rows =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    w[0] = _mm512_shuffle_epi8(_mm512_loadu_si512(step + 64 * v), rows);
  }
};

}  // namespace
}  // namespace mm2::kernels::avx512
