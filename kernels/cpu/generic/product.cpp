#include "kernels/cpu/generic/product.h"

#include "kernels/api/parallel.h"
#include "kernels/cpu/generic/vec.h"

namespace mm2::kernels::generic {
namespace {

constexpr int64_t kStepPairs = 32;  // pairs of K that become 16 KiB of floats

// How 4 rows of a pair of K come out of a block: v = 0..15 is the group of rows.
template <Pair4 (*widen)(U32x4)>
struct HalfCodes {
  static constexpr int64_t kPairBytes = kBlockRows * 4;
  static Pair4 load(const char* pair, int64_t v) {
    return widen(load4(reinterpret_cast<const uint32_t*>(pair) + 4 * v));
  }
};
using Bf16Codes = HalfCodes<bf16_pairs>;
using F16Codes = HalfCodes<f16_pairs>;

struct F32Codes {
  static constexpr int64_t kPairBytes = kBlockRows * 8;
  static Pair4 load(const char* pair, int64_t v) {
    const float* at = reinterpret_cast<const float*>(pair) + 4 * v;
    return {load4(at), load4(at + kBlockRows)};
  }
};

static_assert(kBlockRows == 64 && kBlockRows % 32 == 0, "32 rows at a time fill the registers");

// One token: weights go from memory through registers. Eight sums of 4 rows are live at a time.
template <typename Codes>
void one_token(const char* block, int64_t pairs, const float* x, float* sums) {
  constexpr int64_t kAhead = 4096;  // bytes; 2048 and 8192 lose 5 to 10 %
  constexpr int64_t kPass = 16;     // pairs: two passes over 4 KiB read memory nearly in order
  for (int64_t i = 0; i < kBlockRows; ++i) sums[i] = 0.0f;
  for (int64_t p0 = 0; p0 < pairs; p0 += kPass) {
    const int64_t end = p0 + kPass < pairs ? p0 + kPass : pairs;
    for (int64_t first = 0; first < kBlockRows / 4; first += 8) {
      F32x4 sum[8];
      for (int64_t v = 0; v < 8; ++v) sum[v] = load4(sums + 4 * (first + v));
      for (int64_t p = p0; p < end; ++p) {
        const char* at = block + p * Codes::kPairBytes;
        for (int64_t line = 0; line < Codes::kPairBytes / 2; line += 64) {
          __builtin_prefetch(at + kAhead + first * 16 * (Codes::kPairBytes / 256) + line);
        }
        const F32x4 even = splat4(x[2 * p]), odd = splat4(x[2 * p + 1]);
        for (int64_t v = 0; v < 8; ++v) {
          const Pair4 w = Codes::load(at, first + v);
          sum[v] += w.high * odd;
          sum[v] += w.low * even;
        }
      }
      for (int64_t v = 0; v < 8; ++v) store4(sums + 4 * (first + v), sum[v]);
    }
  }
}

// [n pairs] of codes to floats [2 n, 64] in the order in which they are added.
template <typename Codes>
void expand(const char* from, int64_t n, float* to) {
  for (int64_t p = 0; p < n; ++p, from += Codes::kPairBytes, to += 2 * kBlockRows) {
    for (int64_t v = 0; v < kBlockRows / 4; ++v) {
      const Pair4 w = Codes::load(from, v);
      store4(to + 4 * v, w.high);
      store4(to + kBlockRows + 4 * v, w.low);
    }
  }
}

// Several tokens: a piece of the weights becomes floats once, then serves all tokens.
template <typename Codes>
void many_tokens(const char* block, int64_t pairs, const float* const* x, int32_t n_tokens,
                 float* sums) {
  alignas(64) float weights[2 * kStepPairs * kBlockRows];
  alignas(64) float factors[2 * kStepPairs * kTile * 4];
  for (int64_t i = 0; i < n_tokens * kBlockRows; ++i) sums[i] = 0.0f;
  for (int64_t p0 = 0; p0 < pairs; p0 += kStepPairs) {
    const int64_t n = pairs - p0 < kStepPairs ? pairs - p0 : kStepPairs;
    expand<Codes>(block + p0 * Codes::kPairBytes, n, weights);
    for (int32_t t0 = 0; t0 < n_tokens; t0 += kTile) {
      const int32_t tile = n_tokens - t0 < kTile ? n_tokens - t0 : kTile;
      for (int32_t t = 0; t < tile; ++t) {
        const float* from = x[t0 + t] + 2 * p0;
        for (int64_t k = 0; k < 2 * n; ++k)
          store4(factors + (k * tile + t) * 4, splat4(from[k ^ 1]));
      }
      add_products(weights, kBlockRows, kBlockRows, factors, 2 * n, tile, sums + t0 * kBlockRows,
                   kBlockRows);
    }
  }
}

template <typename Codes>
void product(const Matrix& w, int64_t block, const float* const* x, int32_t n_tokens, float* sums) {
  const char* codes = block_of(w, block);
  if (n_tokens == 1) {
    one_token<Codes>(codes, n_pairs(w.n_in), x[0], sums);
  } else {
    many_tokens<Codes>(codes, n_pairs(w.n_in), x, n_tokens, sums);
  }
}

template <int32_t n>
void tile_products(const float* values, int64_t value_stride, int64_t lanes, const float* factors,
                   int64_t n_steps, float* sums, int64_t sum_stride) {
  for (int64_t lane = 0; lane < lanes; lane += 8) {
    F32x4 sum[n][2];
    for (int32_t t = 0; t < n; ++t) {
      sum[t][0] = load4(sums + t * sum_stride + lane);
      sum[t][1] = load4(sums + t * sum_stride + lane + 4);
    }
    const float* value = values + lane;
    const float* factor = factors;
    for (int64_t step = 0; step < n_steps; ++step, value += value_stride, factor += 4 * n) {
      const F32x4 first = load4(value), second = load4(value + 4);
      for (int32_t t = 0; t < n; ++t) {
        const F32x4 f = load4(factor + 4 * t);
        sum[t][0] += first * f;
        sum[t][1] += second * f;
      }
    }
    for (int32_t t = 0; t < n; ++t) {
      store4(sums + t * sum_stride + lane, sum[t][0]);
      store4(sums + t * sum_stride + lane + 4, sum[t][1]);
    }
  }
}

}  // namespace

void block_product(const Matrix& w, int64_t block, const float* const* x, int32_t n_tokens,
                   float* sums) {
  if (w.number == kBF16) return product<Bf16Codes>(w, block, x, n_tokens, sums);
  if (w.number == kF16) return product<F16Codes>(w, block, x, n_tokens, sums);
  return product<F32Codes>(w, block, x, n_tokens, sums);
}

void add_products(const float* values, int64_t value_stride, int64_t lanes, const float* factors,
                  int64_t n_steps, int32_t n, float* sums, int64_t sum_stride) {
  static_assert(kTile == 4);
  constexpr decltype(&tile_products<1>) kTiles[] = {tile_products<1>, tile_products<2>,
                                                    tile_products<3>, tile_products<4>};
  kTiles[n - 1](values, value_stride, lanes, factors, n_steps, sums, sum_stride);
}

void enter_rows(const Executor* run, const float* x, int64_t n_tokens, int64_t n_in,
                int32_t activations, float* entered) {
  const int64_t stride = activation_stride(n_in);
  const auto enter = [&](int64_t t, int32_t) {
    const float* from = x + t * n_in;
    float* to = entered + t * stride;
    if (activations == kBF16) {
      for (int64_t i = 0; i < n_in; ++i) to[i] = bf16_to_f32(f32_to_bf16(from[i]));
    } else {
      memcpy(to, from, static_cast<size_t>(n_in) * sizeof(float));
    }
    to[n_in] = 0.0f;
  };
  if (n_tokens < 8) {
    for (int64_t t = 0; t < n_tokens; ++t) enter(t, 0);
  } else {
    run_tasks(run, n_tokens, enter);
  }
}

}  // namespace mm2::kernels::generic
