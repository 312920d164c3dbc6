#include "kernels/cpu/generic/product.h"

#include "kernels/cpu/common/vec.h"
#include "kernels/cpu/generic/codes.h"

namespace mm2::kernels::generic {

using namespace common;
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
void plain_product(const Matrix& w, int64_t block, const float* const* x, int32_t n_tokens,
                   float* sums) {
  const char* codes = block_at(w, blocks_of(w.format, w.n_out, w.n_in), block);
  if (n_tokens == 1) {
    one_token<Codes>(codes, n_pairs(w.n_in), x[0], sums);
  } else {
    many_tokens<Codes>(codes, n_pairs(w.n_in), x, n_tokens, sums);
  }
}

// The activations of n tokens from k0 on as factors, [cols, n, 4].
void spread(const float* const* x, int32_t n, int64_t k0, int64_t cols, float* factors) {
  for (int32_t t = 0; t < n; ++t) {
    const float* from = x[t] + k0;
    for (int64_t k = 0; k < cols; ++k) store4(factors + (k * n + t) * 4, splat4(from[k ^ 1]));
  }
}

// What zeros take from a sum group: sums[i] = -(zeros[i] * s), s = x[0 .. cols) added up.
void start_below(const char* zeros, const float* x, int64_t cols, float* sums) {
  float s = 0.0f;
  for (int64_t k = 0; k < cols; ++k) s += x[k ^ 1];
  for (int64_t i = 0; i < kBlockRows; ++i) {
    sums[i] = -(static_cast<float>(static_cast<uint8_t>(zeros[i])) * s);
  }
}

// sums += scales * group, or (scales * *x_scale) * group, of 64 rows.
void add_group(const float* scales, const float* x_scale, const float* group, float* sums) {
  for (int64_t i = 0; i < kBlockRows; ++i) {
    const float scale = x_scale == nullptr ? scales[i] : scales[i] * *x_scale;
    sums[i] += scale * group[i];
  }
}

// Codes: a record becomes floats once, then serves all tokens. `group` are the sums of one sum
// group; where scales lie in the code there is only one, which is `sums` itself. Codes of activations
// (kI8) are floats here: products and sums of integers below 2^24 are exact in any order.
void code_product(const Matrix& w, int64_t block, const Prepared& prepared, float* sums) {
  alignas(64) float weights[kSumGroup * kBlockRows];
  alignas(64) float factors[kSumGroup * kTile * 4];
  alignas(64) float group[kTile * kBlockRows];
  alignas(64) float scales[kBlockRows];
  const Format& f = w.format;
  const float* const* x = prepared.rows;
  const int32_t n_tokens = prepared.n;
  const Blocks blocks = blocks_of(f, w.n_out, w.n_in);
  const layout::Record& record = blocks.record;
  const char* start = block_at(w, blocks, block);
  const bool whole = scale_in_code(f);
  for (int64_t i = 0; i < n_tokens * kBlockRows; ++i) sums[i] = 0.0f;
  for (int64_t r = 0; r < blocks.n_records; ++r) {
    const char* at = start + r * record.bytes;
    const int64_t k0 = r * record.cols;
    expand_codes(f, record, at, weights);
    if (!whole) expand_scales(f, blocks, start, r, scales);
    for (int32_t t0 = 0; t0 < n_tokens; t0 += kTile) {
      const int32_t tile = n_tokens - t0 < kTile ? n_tokens - t0 : kTile;
      spread(x + t0, tile, k0, record.cols, factors);
      float* to = whole ? sums + t0 * kBlockRows : group;
      for (int32_t t = 0; t < tile && !whole; ++t) {
        float* from = group + t * kBlockRows;
        for (int64_t i = 0; i < kBlockRows; ++i) from[i] = 0.0f;
        if (f.zeros != 0) start_below(at + record.zeros, x[t0 + t] + k0, record.cols, from);
      }
      add_products(weights, kBlockRows, kBlockRows, factors, record.cols, tile, to, kBlockRows);
      for (int32_t t = 0; t < tile && !whole; ++t) {
        const int64_t of_x = (t0 + t) * int8_groups(w.n_in) + k0 / kSumGroup;
        add_group(scales, prepared.scales == nullptr ? nullptr : prepared.scales + of_x,
                  group + t * kBlockRows, sums + (t0 + t) * kBlockRows);
      }
    }
  }
}

void scale_output(const Matrix& w, int64_t n, float* sums) {
  const float s = w.output_scale;
  if (s == 1.0f) return;
  for (int64_t i = 0; i < n; ++i) sums[i] = w.output_divides != 0 ? sums[i] / s : sums[i] * s;
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

// Rounded products of numbers that need no rounding are the same, so activations change nothing that
// `prepare` has not done.
void product(const Matrix& w, int64_t block, const common::Prepared& x, int32_t /*activations*/,
             float* sums) {
  if (!is_plain(w.format)) {
    code_product(w, block, x, sums);
  } else if (w.format.number == kBF16) {
    plain_product<Bf16Codes>(w, block, x.rows, x.n, sums);
  } else if (w.format.number == kF16) {
    plain_product<F16Codes>(w, block, x.rows, x.n, sums);
  } else {
    plain_product<F32Codes>(w, block, x.rows, x.n, sums);
  }
  scale_output(w, x.n * kBlockRows, sums);
}

void add_products(const float* values, int64_t value_stride, int64_t lanes, const float* factors,
                  int64_t n_steps, int32_t n, float* sums, int64_t sum_stride) {
  static_assert(kTile == 4);
  constexpr decltype(&tile_products<1>) kTiles[] = {tile_products<1>, tile_products<2>,
                                                    tile_products<3>, tile_products<4>};
  kTiles[n - 1](values, value_stride, lanes, factors, n_steps, sums, sum_stride);
}

}  // namespace mm2::kernels::generic
