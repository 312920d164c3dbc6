// The inner loops of attention; what they add up, and when, is in kernels/cpu/common/attention.h.
//
// Keys and values become floats in the first-level cache, 16 KiB at a time, and products are fused
// multiply-adds, which no CPU with AVX-512 does less than twice as fast as it decodes.
#include <immintrin.h>

#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/common/attention_tasks.h"

namespace mm2::kernels::avx512 {
namespace {

using namespace common;

/// The upper and the lower byte of BF16 of every E4M3 without its sign.
struct E4m3Tables {
  alignas(64) uint8_t high[128];
  alignas(64) uint8_t low[128];

  constexpr E4m3Tables() : high(), low() {
    for (int code = 0; code < 128; ++code) {
      int exponent = code >> 3, mantissa = code & 7;
      if (exponent == 0 && mantissa != 0) {
        for (exponent = 1; mantissa < 8; --exponent) mantissa *= 2;
      }
      int bits = (exponent + 120) << 7 | (mantissa & 7) << 4;
      if (code == 0) bits = 0;
      if (code == 0x7F) bits = 0x7FC0;
      high[code] = static_cast<uint8_t>(bits >> 8);
      low[code] = static_cast<uint8_t>(bits);
    }
  }
};
constexpr E4m3Tables kE4m3;

inline __m512i load(const void* at) {
  return _mm512_loadu_si512(at);
}

// Two BF16 in each dword: of step 0 in `rows`, of step 1 `lanes` further.
inline void store_pair(__m512i pairs, int64_t lanes, float* rows) {
  _mm512_storeu_si512(rows, _mm512_slli_epi32(pairs, 16));
  _mm512_storeu_si512(rows + lanes,
                      _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
}

void widen_bf16(const char* from, int64_t lanes, int64_t n_steps, const Ahead& ahead, float* to) {
  Prefetch prefetch(ahead, n_steps / 2);
  for (int64_t step = 0; step < n_steps; step += 2, to += 2 * lanes, from += 4 * lanes) {
    prefetch.step();
    for (int64_t i = 0; i < lanes; i += 16) store_pair(load(from + 4 * i), lanes, to + i);
  }
}

/// 64 codes as BF16: of 16 lanes the pair of steps 0 and 1, and that of steps 2 and 3.
class E4m3Decoder {
 public:
  void decode(__m512i codes, __m512i& first, __m512i& second) const {
    const __m512i high = _mm512_ternarylogic_epi32(_mm512_permutex2var_epi8(h0_, codes, h1_), codes,
                                                   sign_, 0xF8);  // a | (b & c)
    const __m512i low = _mm512_permutex2var_epi8(l0_, codes, l1_);
    first = _mm512_unpacklo_epi8(low, high);
    second = _mm512_unpackhi_epi8(low, high);
  }

 private:
  const __m512i h0_ = load(kE4m3.high), h1_ = load(kE4m3.high + 64);
  const __m512i l0_ = load(kE4m3.low), l1_ = load(kE4m3.low + 64);
  const __m512i sign_ = _mm512_set1_epi8(static_cast<char>(0x80));
};

void widen_e4m3(const char* from, int64_t lanes, int64_t n_steps, const Ahead& ahead, float* to) {
  Prefetch prefetch(ahead, n_steps / 4);
  const E4m3Decoder decoder;
  for (int64_t step = 0; step < n_steps; step += 4, to += 4 * lanes, from += 4 * lanes) {
    prefetch.step();
    for (int64_t i = 0; i < lanes; i += 16) {
      __m512i first, second;
      decoder.decode(load(from + 4 * i), first, second);
      store_pair(first, lanes, to + i);
      store_pair(second, lanes, to + 2 * lanes + i);
    }
  }
}

template <bool exact>
inline __m512 add_product(__m512 sum, __m512 row, __m512 factor) {
  if (exact) return _mm512_fmadd_ps(row, factor, sum);
  return _mm512_add_ps(sum, _mm512_mul_ps(row, factor));
}

// n queries by 16 v lanes: up to 24 sums in registers.
template <int n, int v, bool exact>
inline void add_tile(const Products& p, int64_t lane) {
  __m512 sum[n][v];
#pragma GCC unroll 6
  for (int q = 0; q < n; ++q) {
#pragma GCC unroll 4
    for (int i = 0; i < v; ++i)
      sum[q][i] = _mm512_loadu_ps(p.sums + q * p.sum_stride + lane + 16 * i);
  }
  const auto add_step = [&](int64_t step) __attribute__((always_inline)) {
    const float* at = p.rows + step * p.lanes + lane;
    __m512 row[v];
#pragma GCC unroll 4
    for (int i = 0; i < v; ++i) row[i] = _mm512_loadu_ps(at + 16 * i);
#pragma GCC unroll 6
    for (int q = 0; q < n; ++q) {
      const __m512 factor = _mm512_set1_ps(p.factors[q * p.factor_stride + step]);
#pragma GCC unroll 4
      for (int i = 0; i < v; ++i) sum[q][i] = add_product<exact>(sum[q][i], row[i], factor);
    }
  };
  Prefetch prefetch(p.ahead, p.n_steps / 2);
  for (int64_t step = 0; step < p.n_steps; step += 2) {
    prefetch.step();
    add_step(step + 1);
    add_step(step);
  }
#pragma GCC unroll 6
  for (int q = 0; q < n; ++q) {
#pragma GCC unroll 4
    for (int i = 0; i < v; ++i)
      _mm512_storeu_ps(p.sums + q * p.sum_stride + lane + 16 * i, sum[q][i]);
  }
}

template <int n, bool exact>
void add_queries(const Products& p) {
  if (p.lanes == kKvLanes) return add_tile<n, 4, exact>(p, 0);
  for (int64_t lane = 0; lane < p.lanes; lane += 16) add_tile<n, 1, exact>(p, lane);
}

// Where rows serve no more queries than have sums in registers they need not be kept: the same for
// 64 lanes of BF16 as they lie at `from`, where products are exact.
template <int n>
void add_bf16(const Products& p, const char* from) {
  __m512 sum[n][4];
#pragma GCC unroll 6
  for (int q = 0; q < n; ++q) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[q][i] = _mm512_loadu_ps(p.sums + q * p.sum_stride + 16 * i);
  }
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
  constexpr int64_t kNear = 1024;  // bytes ahead, into the first-level cache
  Prefetch prefetch(p.ahead, p.n_steps / 2);
  for (int64_t step = 0; step < p.n_steps; step += 2, from += 4 * kKvLanes) {
    prefetch.step();
    for (int i = 0; i < 4; ++i) _mm_prefetch(from + kNear + 64 * i, _MM_HINT_T0);
#pragma GCC unroll 2
    for (int odd = 1; odd >= 0; --odd) {
      __m512 row[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m512i pairs = load(from + 64 * i);
        row[i] = _mm512_castsi512_ps(odd != 0 ? _mm512_and_si512(pairs, upper)
                                              : _mm512_slli_epi32(pairs, 16));
      }
#pragma GCC unroll 6
      for (int q = 0; q < n; ++q) {
        const __m512 factor = _mm512_set1_ps(p.factors[q * p.factor_stride + step + odd]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[q][i] = _mm512_fmadd_ps(row[i], factor, sum[q][i]);
      }
    }
  }
#pragma GCC unroll 6
  for (int q = 0; q < n; ++q) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm512_storeu_ps(p.sums + q * p.sum_stride + 16 * i, sum[q][i]);
  }
}

// exp2_f32 of 16 numbers, with its bits.
inline __m512 exp2(__m512 t) {
  const auto all = [](float x) { return _mm512_set1_ps(x); };
  t = _mm512_max_ps(all(kLowestPower), t);  // the second where one is NaN
  const __m512 n = _mm512_sub_ps(_mm512_add_ps(t, all(kExp2Round)), all(kExp2Round));
  const __m512 r = _mm512_sub_ps(t, n);
  __m512 p = all(kExp2[0]);
#pragma GCC unroll 6
  for (int i = 1; i < 7; ++i) p = _mm512_add_ps(_mm512_mul_ps(p, r), all(kExp2[i]));
  return _mm512_scalef_ps(p, n);
}

struct Isa {
  static constexpr int32_t kQueries = 6;

  static void widen(int32_t number, const char* group, int64_t lanes, int64_t first,
                    int64_t n_steps, float* rows, const Ahead& ahead) {
    const char* from = group + layout::kv_offset(number, lanes, 0, first);
    if (number == kBF16) {
      widen_bf16(from, lanes, n_steps, ahead, rows);
    } else if (number == kE4M3) {
      widen_e4m3(from, lanes, n_steps, ahead, rows);
    } else {
      memcpy(rows, from, static_cast<size_t>(n_steps * lanes) * 4);
    }
  }

  static void add_products(const Products& p) {
    constexpr decltype(&add_queries<1, true>) kTiles[2][kQueries] = {
        {add_queries<1, false>, add_queries<2, false>, add_queries<3, false>, add_queries<4, false>,
         add_queries<5, false>, add_queries<6, false>},
        {add_queries<1, true>, add_queries<2, true>, add_queries<3, true>, add_queries<4, true>,
         add_queries<5, true>, add_queries<6, true>}};
    kTiles[p.exact ? 1 : 0][p.n - 1](p);
  }

  static bool add_codes(const Products& p, int32_t number, const char* from) {
    constexpr decltype(&add_bf16<1>) kTiles[kQueries] = {add_bf16<1>, add_bf16<2>, add_bf16<3>,
                                                         add_bf16<4>, add_bf16<5>, add_bf16<6>};
    if (number != kBF16 || !p.exact || p.lanes != kKvLanes || p.n > kQueries) return false;
    kTiles[p.n - 1](p, from);
    return true;
  }

  static float soften(float* scores, int64_t n_valid, const Softening& s) {
    const float before = *s.greatest;
    const uint64_t valid = ~uint64_t{0} >> (kKvLanes - n_valid);
    __m512 e[4], most = _mm512_set1_ps(before);
    Prefetch prefetch(s.ahead, 4);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const auto mask = static_cast<__mmask16>(valid >> (16 * i));
      e[i] = _mm512_mul_ps(_mm512_loadu_ps(scores + 16 * i), _mm512_set1_ps(s.factor));
      most = _mm512_mask_max_ps(most, mask, e[i], most);  // the second where one is NaN
    }
    const float greatest = _mm512_reduce_max_ps(most);
    const float fade = greatest == before ? 1.0f : exp2_f32(before - greatest);
    __m512 totals = _mm512_mul_ps(_mm512_loadu_ps(s.totals), _mm512_set1_ps(fade));
    const __m512i round = _mm512_set1_epi32(static_cast<int>(s.round));
    const __m512i keep = _mm512_set1_epi32(static_cast<int>(s.keep));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      prefetch.step();
      const auto mask = static_cast<__mmask16>(valid >> (16 * i));
      const __m512 power = exp2(_mm512_sub_ps(e[i], _mm512_set1_ps(greatest)));
      const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(power), round);
      e[i] = _mm512_castsi512_ps(_mm512_maskz_and_epi32(mask, bits, keep));
      _mm512_storeu_ps(scores + 16 * i, e[i]);
      totals = _mm512_add_ps(totals, e[i]);
    }
    _mm512_storeu_ps(s.totals, totals);
    *s.greatest = greatest;
    return fade;
  }
};

}  // namespace

void attention(const Executor* run, const AttentionArgs<float>* a) {
  common::attention<Isa>(run, a);
}

}  // namespace mm2::kernels::avx512
