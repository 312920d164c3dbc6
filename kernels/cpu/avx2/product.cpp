// One token: weights go from memory through registers, 64 sums live in eight of them. Several: a sum
// group (or 128 columns) becomes floats in the first-level cache and serves tiles of 6 tokens by 16
// rows. The order of additions is that of kernels/api/ops.h in both.
#include "kernels/cpu/avx2/product.h"

#include "kernels/cpu/avx2/codes.h"
#include "kernels/cpu/avx2/place.h"
#include "kernels/cpu/avx2/product_of_int8.h"

namespace mm2::kernels::avx2 {
namespace {

using layout::Blocks;
using layout::kBlockRows;

constexpr int kTile = 6;         // tokens: 12 sums, 2 weights and one activation fill the registers
constexpr int64_t kPiece = 128;  // columns that become floats at a time

template <bool exact>
inline __m256 add_product(__m256 sum, __m256 w, __m256 x) {
  if (exact) return _mm256_fmadd_ps(w, x, sum);
  return _mm256_add_ps(sum, _mm256_mul_ps(w, x));
}

// Columns [k0, k0 + cols) of one token into eight vectors of sums.
template <bool exact, typename Codes>
inline void add_steps(const Codes& codes, const char* at, int64_t cols, const float* x,
                      __m256* sums) {
  for (int64_t k0 = 0; k0 < cols; k0 += Codes::kCols, at += Codes::kStepBytes) {
    for (int64_t line = 0; line < Codes::kStepBytes; line += 64) {
      _mm_prefetch(at + kAhead + line, _MM_HINT_T0);
    }
    __m256 xs[Codes::kCols];
    for (int k = 0; k < Codes::kCols; ++k) xs[k] = _mm256_broadcast_ss(x + k0 + k);
    for (int v = 0; v < kVectors; ++v) {
      __m256 w[Codes::kCols];
      codes.numbers(at, v, w);
      for (int k = 0; k < Codes::kCols; ++k) {
        sums[v] = add_product<exact>(sums[v], w[k ^ 1], xs[k ^ 1]);
      }
    }
  }
}

// What the chains of one_token have to be multiplied by: powers of two, so no bit changes.
template <typename Codes>
constexpr float kChainFactor = 1.0f;
template <>
constexpr float kChainFactor<Fp8Codes> = 0x1p30f;

// FP8: 2^90 of the activation meets 2^-120 of a normal code, or 2^-30 of it the code's number.
template <bool exact>
inline void add_steps(const Fp8Codes& codes, const char* at, int64_t cols, const float* x,
                      __m256* sums) {
  for (int64_t k0 = 0; k0 < cols; k0 += Fp8Codes::kCols, at += Fp8Codes::kStepBytes) {
    for (int64_t line = 0; line < Fp8Codes::kStepBytes; line += 64) {
      _mm_prefetch(at + kAhead + line, _MM_HINT_T0);
    }
    const bool normal = Fp8Codes::all_normal(at);
    __m256 xs[4], w[4];
    for (int k = 0; k < 4; ++k) xs[k] = _mm256_broadcast_ss(x + k0 + k);
    if (normal) [[likely]] {
      for (int k = 0; k < 4; ++k) xs[k] = _mm256_mul_ps(xs[k], _mm256_set1_ps(0x1p90f));
      for (int v = 0; v < kVectors; ++v) {
        Fp8Codes::normal_numbers(at, v, w);
        for (int k = 0; k < 4; ++k) sums[v] = add_product<exact>(sums[v], w[k ^ 1], xs[k ^ 1]);
      }
    } else {
      for (int k = 0; k < 4; ++k) xs[k] = _mm256_mul_ps(xs[k], _mm256_set1_ps(0x1p-30f));
      for (int v = 0; v < kVectors; ++v) {
        codes.numbers(at, v, w);
        for (int k = 0; k < 4; ++k) sums[v] = add_product<exact>(sums[v], w[k ^ 1], xs[k ^ 1]);
      }
    }
  }
}

template <bool exact, typename Codes>
void one_token(const Place& place, const Codes& codes, const float* x, float* sums) {
  const Blocks& blocks = place.blocks;
  const int64_t group = sum_group(place.w.format);
  __m256 total[kVectors];
  for (int v = 0; v < kVectors; ++v) total[v] = _mm256_setzero_ps();
  if (group == 0) {
    // One chain; records lie one after the other and are whole steps.
    const int64_t cols = blocks.n_records * blocks.record.cols;
    add_steps<exact>(codes, place.start, cols, x, total);
    for (int v = 0; v < kVectors; ++v) _mm256_store_ps(sums + 8 * v, total[v]);
    return;
  }
  for (int v = 0; v < kVectors; ++v) _mm256_store_ps(sums + 8 * v, total[v]);
  for (int64_t r = 0; r < blocks.n_records; ++r) {
    const float* from = x + r * group;
    const float x_sum = place.x_sum(from);
    __m256 chain[kVectors];
    for (int v = 0; v < kVectors; ++v) chain[v] = place.first_sum(r, v, x_sum);
    add_steps<exact>(codes, place.start + r * blocks.record.bytes, group, from, chain);
    for (int v = 0; v < kVectors; ++v) {
      const __m256 factor = _mm256_set1_ps(kChainFactor<Codes>);
      const __m256 scaled = _mm256_mul_ps(place.scales(r, v), _mm256_mul_ps(chain[v], factor));
      _mm256_store_ps(sums + 8 * v, _mm256_add_ps(_mm256_load_ps(sums + 8 * v), scaled));
    }
  }
}

// [cols, 64] floats from the steps of one record or of several.
template <typename Codes>
void expand(const Codes& codes, const char* at, int64_t cols, float* to) {
  for (int64_t k0 = 0; k0 < cols; k0 += Codes::kCols, at += Codes::kStepBytes) {
    for (int64_t line = 0; line < Codes::kStepBytes; line += 64) {
      _mm_prefetch(at + kAhead + line, _MM_HINT_T0);
    }
    for (int v = 0; v < kVectors; ++v) {
      __m256 w[Codes::kCols];
      codes.numbers(at, v, w);
      for (int k = 0; k < Codes::kCols; ++k) {
        _mm256_store_ps(to + (k0 + k) * kBlockRows + 8 * v, w[k]);
      }
    }
  }
}

// n tokens by 16 rows: chains [n, 64] go on over `cols` columns.
template <bool exact, int n>
void tile(const float* values, int64_t cols, const float* const* x, int64_t k0, float* chains) {
  for (int64_t row = 0; row < kBlockRows; row += 16) {
    __m256 sum[n][2];
    for (int t = 0; t < n; ++t) {
      sum[t][0] = _mm256_load_ps(chains + t * kBlockRows + row);
      sum[t][1] = _mm256_load_ps(chains + t * kBlockRows + row + 8);
    }
    for (int64_t k = 0; k < cols; ++k) {
      const float* at = values + (k ^ 1) * kBlockRows + row;
      const __m256 first = _mm256_load_ps(at), second = _mm256_load_ps(at + 8);
      for (int t = 0; t < n; ++t) {
        const __m256 factor = _mm256_broadcast_ss(x[t] + k0 + (k ^ 1));
        sum[t][0] = add_product<exact>(sum[t][0], first, factor);
        sum[t][1] = add_product<exact>(sum[t][1], second, factor);
      }
    }
    for (int t = 0; t < n; ++t) {
      _mm256_store_ps(chains + t * kBlockRows + row, sum[t][0]);
      _mm256_store_ps(chains + t * kBlockRows + row + 8, sum[t][1]);
    }
  }
}

template <bool exact>
void tile_of(int32_t n, const float* values, int64_t cols, const float* const* x, int64_t k0,
             float* chains) {
  constexpr decltype(&tile<exact, 1>) kTiles[kTile] = {tile<exact, 1>, tile<exact, 2>,
                                                       tile<exact, 3>, tile<exact, 4>,
                                                       tile<exact, 5>, tile<exact, 6>};
  kTiles[n - 1](values, cols, x, k0, chains);
}

template <bool exact, typename Codes>
void many_tokens(const Place& place, const Codes& codes, const float* const* x, int32_t n_tokens,
                 float* sums) {
  alignas(64) float values[kPiece * kBlockRows];
  alignas(64) float chains[kTile * kBlockRows];
  const Blocks& blocks = place.blocks;
  const bool grouped = sum_group(place.w.format) != 0;
  for (int64_t i = 0; i < n_tokens * kBlockRows; ++i) sums[i] = 0.0f;
  const int64_t records_in_piece = grouped ? 1 : kPiece / blocks.record.cols;
  for (int64_t r = 0; r < blocks.n_records; r += records_in_piece) {
    const int64_t left = blocks.n_records - r;
    const int64_t cols = (left < records_in_piece ? left : records_in_piece) * blocks.record.cols;
    const int64_t k0 = r * blocks.record.cols;
    expand(codes, place.start + r * blocks.record.bytes, cols, values);
    for (int32_t t0 = 0; t0 < n_tokens; t0 += kTile) {
      const int32_t n = n_tokens - t0 < kTile ? n_tokens - t0 : kTile;
      float* to = sums + t0 * kBlockRows;
      if (!grouped) {
        tile_of<exact>(n, values, cols, x + t0, k0, to);
        continue;
      }
      for (int32_t t = 0; t < n; ++t) {
        const float x_sum = place.x_sum(x[t0 + t] + k0);
        for (int v = 0; v < kVectors; ++v) {
          _mm256_store_ps(chains + t * kBlockRows + 8 * v, place.first_sum(r, v, x_sum));
        }
      }
      tile_of<exact>(n, values, cols, x + t0, k0, chains);
      for (int v = 0; v < kVectors; ++v) {
        const __m256 scale = place.scales(r, v);
        for (int32_t t = 0; t < n; ++t) {
          const int64_t at = t * kBlockRows + 8 * v;
          const __m256 scaled = _mm256_mul_ps(scale, _mm256_load_ps(chains + at));
          _mm256_store_ps(to + at, _mm256_add_ps(_mm256_load_ps(to + at), scaled));
        }
      }
    }
  }
}

template <bool exact, typename Codes>
void multiply(const Place& place, const Codes& codes, const float* const* x, int32_t n_tokens,
              float* sums) {
  if (n_tokens == 1) {
    one_token<exact>(place, codes, x[0], sums);
  } else {
    many_tokens<exact>(place, codes, x, n_tokens, sums);
  }
}

template <bool exact>
void product_of(const Place& place, const float* const* x, int32_t n, float* sums) {
  const Format& f = place.w.format;
  const bool zeros = f.zeros != 0;
  if (f.scheme == kFp8) return multiply<exact>(place, Fp8Codes{}, x, n, sums);
  if (f.scheme == kFp4 && f.number == kE4M3) return multiply<exact>(place, RingCodes{}, x, n, sums);
  if (f.scheme == kFp4) return multiply<exact>(place, Mxfp4Codes{}, x, n, sums);
  if (f.scheme == kInteger && f.bits == 4) {
    return multiply<exact>(place, Int4Codes{zeros ? 0.0f : 8.0f}, x, n, sums);
  }
  if (f.scheme == kInteger) {
    return multiply<exact>(place, Int8Codes{zeros ? 0.0f : 128.0f}, x, n, sums);
  }
  if (f.number == kBF16) return multiply<exact>(place, Bf16Codes{}, x, n, sums);
  if (f.number == kF16) return multiply<exact>(place, F16Codes{}, x, n, sums);
  return multiply<false>(place, F32Codes{}, x, n, sums);
}

}  // namespace

void prepare(const Matrix& w, const float* const* x, int32_t n, int32_t activations, void* room,
             common::Prepared* prepared) {
  if (entering(w.format, activations) == kI8) return prepare_int8(w, x, n, room, prepared);
  common::prepare_floats(w, x, n, activations, room, prepared);
}

void product(const Matrix& w, int64_t block, const common::Prepared& x, int32_t activations,
             float* sums) {
  const Place place(w, block);
  if (x.scales != nullptr) {
    product_of_int8(w, block, x, sums);
  } else if (entering(w.format, activations) == kBF16) {
    product_of<true>(place, x.rows, x.n, sums);
  } else {
    product_of<false>(place, x.rows, x.n, sums);
  }
  const float s = w.output_scale;
  if (s == 1.0f) return;
  for (int64_t i = 0; i < x.n * kBlockRows; ++i) {
    sums[i] = w.output_divides != 0 ? sums[i] / s : sums[i] * s;
  }
}

}  // namespace mm2::kernels::avx2
