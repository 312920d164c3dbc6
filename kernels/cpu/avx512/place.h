// Where the sums of a block are on their way through its records: scales and zeros as floats.
#pragma once

#include <immintrin.h>

#include "kernels/api/numbers.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx512 {
namespace {

struct Place {
  const Matrix& w;
  layout::Blocks blocks;
  const char* start;

  Place(const Matrix& w_, int64_t block)
      : w(w_),
        blocks(layout::blocks_of(w_.format, w_.n_out, w_.n_in)),
        start(layout::block_at(w_, blocks, block)) {}

  const char* record(int64_t r) const { return start + r * blocks.record.bytes; }

  // The scales of rows 16 v .. 16 v + 15 in record r, b blocks further.
  __m512 scales(int64_t b, int64_t r, int v) const {
    const int32_t number = w.format.number;
    if (blocks.table != 0) {
      float shared;
      memcpy(&shared, start + b * blocks.bytes + blocks.table + 4 * r, 4);
      return _mm512_set1_ps(shared);
    }
    const char* at = record(r) + b * blocks.bytes + blocks.record.scales;
    if (number == kF32) return _mm512_loadu_ps(at + 64 * v);
    if (number == kE8M0) {
      const __m512i code = bytes(at + 16 * v);
      const __m512i least = _mm512_set1_epi32(0x00400000);  // 2^-127
      return _mm512_castsi512_ps(_mm512_mask_mov_epi32(_mm512_slli_epi32(code, 23),
                                                       _mm512_testn_epi32_mask(code, code), least));
    }
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32 * v));
    if (number == kF16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }

  // Their zeros, where there are some.
  __m512 zeros(int64_t b, int64_t r, int v) const {
    return _mm512_cvtepi32_ps(zero_codes(b, r, v));
  }
  __m512i zero_codes(int64_t b, int64_t r, int v) const {
    return bytes(record(r) + b * blocks.bytes + blocks.record.zeros + 16 * v);
  }

 private:
  static __m512i bytes(const char* at) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
};

/// Where a chain starts: below 0 by what zeros take, -(zero * sum of the group's activations).
inline __m512 below_zero(__m512 zeros, float x_sum) {
  return _mm512_xor_ps(_mm512_mul_ps(zeros, _mm512_set1_ps(x_sum)), _mm512_set1_ps(-0.0f));
}

/// One term of a chain: fused where the product is exact, else product and sum each rounded.
template <bool exact>
[[gnu::always_inline]] inline __m512 add_product(__m512 sum, __m512 w, __m512 x) {
  if (exact) return _mm512_fmadd_ps(w, x, sum);
  return _mm512_add_ps(sum, _mm512_mul_ps(w, x));
}

/// Whether products of these weights with such activations are exact in FP32.
inline bool is_exact(const Format& f, int32_t activations) {
  return activations == kBF16 && !(is_plain(f) && f.number == kF32);
}

}  // namespace
}  // namespace mm2::kernels::avx512
