// The inner loops of attention; what they add up, and the order, is in kernels/cpu/common/attention.h.
#include "kernels/cpu/common/attention_tasks.h"

#include "kernels/cpu/common/vec.h"
#include "kernels/cpu/generic/generic.h"

namespace mm2::kernels::generic {
namespace {

using namespace common;
using layout::kKvLanes;

/// Every E4M3, kernels/api/numbers.h.
struct E4m3Table {
  float value[256];

  constexpr E4m3Table() : value() {
    for (int code = 0; code < 256; ++code) {
      const int exponent = code >> 3 & 15, mantissa = code & 7;
      float size = static_cast<float>(exponent == 0 ? mantissa : 8 + mantissa) * 0x1p-9f;
      for (int e = 1; e < exponent; ++e) size *= 2.0f;
      if ((code & 0x7F) == 0x7F) size = __builtin_nanf("");
      value[code] = code < 128 ? size : -size;
    }
  }
};
constexpr E4m3Table kE4m3Table;

void widen_bf16(const char* from, int64_t lanes, int64_t n_steps, float* to) {
  for (int64_t step = 0; step < n_steps; step += 2, to += 2 * lanes, from += 4 * lanes) {
    for (int64_t i = 0; i < lanes; i += 4) {
      const Pair4 w = bf16_pairs(load4(reinterpret_cast<const uint32_t*>(from) + i));
      store4(to + i, w.low);
      store4(to + lanes + i, w.high);
    }
  }
}

void widen_e4m3(const char* from, int64_t lanes, int64_t n_steps, float* to) {
  for (int64_t step = 0; step < n_steps; step += 4, to += 4 * lanes, from += 4 * lanes) {
    for (int64_t i = 0; i < lanes; ++i) {
      const uint8_t* at = reinterpret_cast<const uint8_t*>(from) + i / 4 * 16 + i % 4 * 2;
      to[i] = kE4m3Table.value[at[0]];
      to[lanes + i] = kE4m3Table.value[at[1]];
      to[2 * lanes + i] = kE4m3Table.value[at[8]];
      to[3 * lanes + i] = kE4m3Table.value[at[9]];
    }
  }
}

// factors [n_steps, n, 4]: each four times, in the order of `p.rows`.
template <int32_t n>
void add_tile(const Products& p, const float* factors) {
  Prefetch prefetch(p.ahead, (p.lanes / 8) * (p.n_steps / 2));
  for (int64_t lane = 0; lane < p.lanes; lane += 8) {
    F32x4 sum[n][2];
    for (int32_t q = 0; q < n; ++q) {
      sum[q][0] = load4(p.sums + q * p.sum_stride + lane);
      sum[q][1] = load4(p.sums + q * p.sum_stride + lane + 4);
    }
    for (int64_t step = 0; step < p.n_steps; ++step) {
      if (step % 2 == 0) prefetch.step();
      const float* row = p.rows + (step ^ 1) * p.lanes + lane;
      const float* factor = factors + (step ^ 1) * n * 4;
      const F32x4 first = load4(row), second = load4(row + 4);
      for (int32_t q = 0; q < n; ++q) {
        const F32x4 f = load4(factor + 4 * q);
        sum[q][0] += first * f;
        sum[q][1] += second * f;
      }
    }
    for (int32_t q = 0; q < n; ++q) {
      store4(p.sums + q * p.sum_stride + lane, sum[q][0]);
      store4(p.sums + q * p.sum_stride + lane + 4, sum[q][1]);
    }
  }
}

struct Isa {
  static constexpr int32_t kQueries = 4;

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
    alignas(16) float factors[kPieceSteps * kQueries * 4];
    for (int32_t q = 0; q < p.n; ++q) {
      for (int64_t step = 0; step < p.n_steps; ++step) {
        store4(factors + (step * p.n + q) * 4, splat4(p.factors[q * p.factor_stride + step]));
      }
    }
    constexpr decltype(&add_tile<1>) kTiles[] = {add_tile<1>, add_tile<2>, add_tile<3>,
                                                 add_tile<4>};
    static_assert(sizeof(kTiles) / sizeof(kTiles[0]) == kQueries);
    kTiles[p.n - 1](p, factors);
  }

  static float soften(float* scores, int64_t n_valid, const Softening& s) {
    const float before = *s.greatest;
    float most = before;
    for (int64_t p = 0; p < n_valid; ++p) {
      scores[p] *= s.factor;
      most = scores[p] > most ? scores[p] : most;
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

}  // namespace mm2::kernels::generic
