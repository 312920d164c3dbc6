// The inner loops of attention, eight lanes at a time; what they add up, and the order, is in
// kernels/cpu/common/attention.h.
#include <immintrin.h>

#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/common/attention_tasks.h"

namespace mm2::kernels::avx2 {
namespace {

using common::Products;
using common::Softening;
using layout::kKvLanes;

constexpr int kTile = 6;  // queries: 12 sums, 2 rows and one factor fill the registers

void widen_bf16(const char* from, int64_t lanes, int64_t n_steps, float* to) {
  for (int64_t step = 0; step < n_steps; step += 2, to += 2 * lanes, from += 4 * lanes) {
    for (int64_t i = 0; i < lanes; i += 8) {
      const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 4 * i));
      const __m256i high = _mm256_and_si256(c, _mm256_set1_epi32(int(0xFFFF0000)));
      _mm256_store_ps(to + i, _mm256_castsi256_ps(_mm256_slli_epi32(c, 16)));
      _mm256_store_ps(to + lanes + i, _mm256_castsi256_ps(high));
    }
  }
}

// The top byte of each dword, an E4M3: its bits in place are 2^-120 of the float, or NaN's.
__m256 e4m3(__m256i dwords) {
  const __m256i placed =
      _mm256_and_si256(_mm256_srai_epi32(dwords, 4), _mm256_set1_epi32(int(0x87F00000)));
  const __m256i size = _mm256_and_si256(placed, _mm256_set1_epi32(0x7FFFFFFF));
  const __m256i is_nan = _mm256_cmpeq_epi32(size, _mm256_set1_epi32(0x07F00000));
  const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(placed), _mm256_set1_ps(0x1p120f));
  return _mm256_or_ps(value, _mm256_castsi256_ps(is_nan));
}

void widen_e4m3(const char* from, int64_t lanes, int64_t n_steps, float* to) {
  for (int64_t step = 0; step < n_steps; step += 4, to += 4 * lanes, from += 4 * lanes) {
    for (int64_t i = 0; i < lanes; i += 8) {
      const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 4 * i));
      const __m256i zero = _mm256_setzero_si256();
      const __m256i first = _mm256_unpacklo_epi8(zero, c), second = _mm256_unpackhi_epi8(zero, c);
      _mm256_store_ps(to + i, e4m3(_mm256_slli_epi32(first, 16)));
      _mm256_store_ps(to + lanes + i, e4m3(first));
      _mm256_store_ps(to + 2 * lanes + i, e4m3(_mm256_slli_epi32(second, 16)));
      _mm256_store_ps(to + 3 * lanes + i, e4m3(second));
    }
  }
}

template <bool exact, int n>
void add_tile(const Products& p) {
  common::Prefetch prefetch(p.ahead, (p.lanes / 16) * (p.n_steps / 2));
  for (int64_t lane = 0; lane < p.lanes; lane += 16) {
    __m256 sum[n][2];
    for (int q = 0; q < n; ++q) {
      sum[q][0] = _mm256_load_ps(p.sums + q * p.sum_stride + lane);
      sum[q][1] = _mm256_load_ps(p.sums + q * p.sum_stride + lane + 8);
    }
    for (int64_t i = 0; i < p.n_steps; ++i) {
      if (i % 2 == 0) prefetch.step();
      const int64_t step = i ^ 1;
      const float* row = p.rows + step * p.lanes + lane;
      const __m256 first = _mm256_load_ps(row), second = _mm256_load_ps(row + 8);
      for (int q = 0; q < n; ++q) {
        const __m256 f = _mm256_broadcast_ss(p.factors + q * p.factor_stride + step);
        if (exact) {
          sum[q][0] = _mm256_fmadd_ps(first, f, sum[q][0]);
          sum[q][1] = _mm256_fmadd_ps(second, f, sum[q][1]);
        } else {
          sum[q][0] = _mm256_add_ps(sum[q][0], _mm256_mul_ps(first, f));
          sum[q][1] = _mm256_add_ps(sum[q][1], _mm256_mul_ps(second, f));
        }
      }
    }
    for (int q = 0; q < n; ++q) {
      _mm256_store_ps(p.sums + q * p.sum_stride + lane, sum[q][0]);
      _mm256_store_ps(p.sums + q * p.sum_stride + lane + 8, sum[q][1]);
    }
  }
}

template <bool exact>
void add_tiles(const Products& p) {
  constexpr decltype(&add_tile<exact, 1>) kTiles[kTile] = {add_tile<exact, 1>, add_tile<exact, 2>,
                                                           add_tile<exact, 3>, add_tile<exact, 4>,
                                                           add_tile<exact, 5>, add_tile<exact, 6>};
  kTiles[p.n - 1](p);
}

struct Isa {
  static constexpr int32_t kQueries = kTile;

  static void widen(int32_t number, const char* group, int64_t lanes, int64_t first,
                    int64_t n_steps, float* rows, const common::Ahead&) {
    const char* from = group + layout::kv_offset(number, lanes, 0, first);
    if (number == kBF16) {
      widen_bf16(from, lanes, n_steps, rows);
    } else if (number == kE4M3) {
      widen_e4m3(from, lanes, n_steps, rows);
    } else {
      memcpy(rows, from, static_cast<size_t>(n_steps * lanes) * 4);
    }
  }

  static void add_products(const Products& p) {
    if (p.exact) {
      add_tiles<true>(p);
    } else {
      add_tiles<false>(p);
    }
  }

  static float soften(float* scores, int64_t n_valid, const Softening& s) {
    const float before = *s.greatest;
    float most = before;
    for (int64_t p = 0; p < kKvLanes; ++p) scores[p] *= s.factor;
    if (n_valid == kKvLanes) {
      __m256 m = _mm256_set1_ps(most);
      for (int64_t p = 0; p < kKvLanes; p += 8) m = _mm256_max_ps(_mm256_loadu_ps(scores + p), m);
      alignas(32) float lanes[8];
      _mm256_store_ps(lanes, m);
      for (const float lane : lanes) most = lane > most ? lane : most;
    } else {
      for (int64_t p = 0; p < n_valid; ++p) most = scores[p] > most ? scores[p] : most;
    }
    for (int64_t p = 0; p < kKvLanes; ++p) {
      const float e = exp2_f32(scores[p] - most);
      scores[p] = float_of((bits_of(e) + s.round) & s.keep);
    }
    for (int64_t p = n_valid; p < kKvLanes; ++p) scores[p] = 0.0f;
    const float fade = exp2_f32(before - most);
    for (int64_t i = 0; i < 16; ++i) {
      s.totals[i] =
          s.totals[i] * fade + scores[i] + scores[i + 16] + scores[i + 32] + scores[i + 48];
    }
    *s.greatest = most;
    return fade;
  }
};

}  // namespace

void attention(const Executor* run, const AttentionArgs<float>* a) {
  common::attention<Isa>(run, a);
}

}  // namespace mm2::kernels::avx2
