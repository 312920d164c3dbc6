// Where the sums of a block are on their way through its columns: scales and zeros, 8 rows at a time.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx2 {
namespace {

constexpr int64_t kAhead = 4096;  // bytes that the prefetch is ahead
constexpr int kVectors = 8;       // of 8 rows

struct Place {
  const Matrix& w;
  const layout::Blocks blocks;
  const char* start;

  Place(const Matrix& w_, int64_t block)
      : w(w_),
        blocks(layout::blocks_of(w_.format, w_.n_out, w_.n_in)),
        start(layout::block_at(w_, blocks, block)) {}

  // Of rows 8 v .. 8 v + 7 in record r.
  __m256 scales(int64_t r, int v) const {
    const Format& f = w.format;
    const char* at = start + r * blocks.record.bytes + blocks.record.scales;
    if (blocks.table != 0) {
      float shared;
      memcpy(&shared, start + blocks.table + 4 * r, 4);
      return _mm256_set1_ps(shared);
    }
    if (f.number == kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(at) + 8 * v);
    if (f.number == kE8M0) {
      const __m256i code =
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at + 8 * v)));
      const __m256i least = _mm256_and_si256(_mm256_cmpeq_epi32(code, _mm256_setzero_si256()),
                                             _mm256_set1_epi32(0x00400000));  // 2^-127
      return _mm256_castsi256_ps(_mm256_or_si256(_mm256_slli_epi32(code, 23), least));
    }
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * v));
    if (f.number == kF16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }

  // Their zeros, where there are some.
  __m256i zeros(int64_t r, int v) const {
    const char* at = start + r * blocks.record.bytes + blocks.record.zeros + 8 * v;
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }

  // Where a chain of record r starts: 0, or below it by what zeros take.
  __m256 first_sum(int64_t r, int v, float x_sum) const {
    if (w.format.zeros == 0) return _mm256_setzero_ps();
    const __m256 taken = _mm256_mul_ps(_mm256_cvtepi32_ps(zeros(r, v)), _mm256_set1_ps(x_sum));
    return _mm256_xor_ps(taken, _mm256_set1_ps(-0.0f));
  }

  // x [cols] added up like products.
  float x_sum(const float* x) const {
    float sum = 0.0f;
    if (w.format.zeros == 0) return sum;
    for (int64_t k = 0; k < blocks.record.cols; ++k) sum += x[k ^ 1];
    return sum;
  }
};

}  // namespace
}  // namespace mm2::kernels::avx2
