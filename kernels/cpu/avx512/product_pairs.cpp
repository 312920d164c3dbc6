// A tile of tokens by 32 or 64 rows stays in registers over all K; weights are decoded as they come,
// in execution units that vdpbf16ps leaves free. One token is a tile of one.
//
// Prepared activations: the tiles one after the other, in each for every pair of K one dword for
// each token; then, where there are zeros, the sums of the activations, [n, records].
#include "kernels/cpu/avx512/product_pairs.h"

#include "kernels/cpu/avx512/pair_codes.h"

namespace mm2::kernels::avx512 {
namespace {

using common::kTokenGroup;
using common::Prepared;
using layout::Blocks;
using layout::blocks_of;
using layout::kBlockRows;

constexpr int64_t kAhead = 4096;  // bytes that the prefetch is ahead for one token
constexpr int kFew = 5;           // tokens that take 64 rows at once

int largest_tile(const Format& f) {
  switch (layout::codes_of(f)) {
    case layout::kRing:
      return RingCodes::kTile;
    case layout::kBytes:
      return f.scheme == kFp8 ? Fp8Codes::kTile : Int8Codes::kTile;
    default:
      return Bf16Codes::kTile;
  }
}

/// n tokens in tiles of nearly the same height.
struct Tiles {
  int32_t n, count;
  Tiles(const Format& f, int32_t n_tokens) : n(n_tokens) {
    const int32_t most = n <= kFew ? kFew : largest_tile(f);
    count = (n + most - 1) / most;
  }
  int32_t first(int32_t i) const { return static_cast<int32_t>(int64_t{n} * i / count); }
};

// Where the sums of a block are on their way through its columns.
struct Place {
  const Matrix& w;
  Blocks blocks;
  const char* start;
  const float* x_sums;  // [n, n_records] where there are zeros

  Place(const Matrix& w_, int64_t block, const Prepared& x)
      : w(w_), blocks(blocks_of(w_.format, w_.n_out, w_.n_in)), start(block_at(w_, blocks, block)) {
    x_sums = static_cast<const float*>(x.packed) + x.n * n_pairs();
  }
  int64_t n_pairs() const { return blocks.n_records * blocks.record.cols / 2; }

  // Of rows 16 v .. 16 v + 15 in record r.
  __m512 scales(int64_t r, int v) const {
    const int32_t number = w.format.number;
    const char* at = start + r * blocks.record.bytes + blocks.record.scales;
    if (blocks.table != 0) {
      float shared;
      memcpy(&shared, start + blocks.table + 4 * r, 4);
      return _mm512_set1_ps(shared);
    }
    if (number == kF32) return _mm512_loadu_ps(at + 64 * v);
    if (number == kE8M0) {
      const __m512i code =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * v)));
      // 2^-127 is subnormal.
      return _mm512_castsi512_ps(_mm512_mask_mov_epi32(_mm512_slli_epi32(code, 23),
                                                       _mm512_testn_epi32_mask(code, code),
                                                       _mm512_set1_epi32(0x00400000)));
    }
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32 * v));
    if (number == kF16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }

  // Where the chain of token t in record r starts: 0, or below it by what zeros take.
  __m512 first_sum(int64_t r, int v, int32_t t) const {
    if (w.format.zeros == 0) return _mm512_setzero_ps();
    const char* at = start + r * blocks.record.bytes + blocks.record.zeros + 16 * v;
    const __m512i zero =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
    const __m512 x = _mm512_set1_ps(x_sums[t * blocks.n_records + r]);
    const __m512 taken = _mm512_mul_ps(_mm512_cvtepi32_ps(zero), x);
    return _mm512_xor_ps(taken, _mm512_set1_ps(-0.0f));
  }
};

template <typename Codes, int h, int V, int p>
[[gnu::always_inline]] inline void add_pairs(const Codes& codes, const char* step, int v0,
                                             const int32_t* x, __m512 (&sum)[h][V]) {
  if constexpr (p < Codes::kPairs) {
    __m512bh w[V];
    for (int v = 0; v < V; ++v) w[v] = (__m512bh)codes.template pair<p>(step, v0 + v);
#pragma GCC unroll 16
    for (int t = 0; t < h; ++t) {
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(x[p * h + t]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[t][v] = _mm512_dpbf16_ps(sum[t][v], w[v], factor);
    }
    add_pairs<Codes, h, V, p + 1>(codes, step, v0, x, sum);
  }
}

// Tokens t0 .. t0 + h - 1, rows 16 v0 .. 16 (v0 + V) - 1. ahead: bytes, 0 = no prefetch.
template <typename Codes, int h, int V>
void tile(const Codes& codes, const Place& place, int v0, const int32_t* x, int32_t t0,
          int64_t ahead, float* sums) {
  const Blocks& blocks = place.blocks;
  const bool grouped = sum_group(place.w.format) != 0;
  const int64_t steps = blocks.record.cols / (2 * Codes::kPairs);
  float* to = sums + t0 * kBlockRows + 16 * v0;
  __m512 sum[h][V];
  for (int t = 0; t < h; ++t) {
    for (int v = 0; v < V; ++v) {
      sum[t][v] = _mm512_setzero_ps();
      _mm512_storeu_ps(to + t * kBlockRows + 16 * v, sum[t][v]);
    }
  }
  for (int64_t r = 0; r < blocks.n_records; ++r) {
    const char* at = place.start + r * blocks.record.bytes;
    if (grouped) {
#pragma GCC unroll 16
      for (int t = 0; t < h; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[t][v] = place.first_sum(r, v0 + v, t0 + t);
      }
    }
    for (int64_t s = 0; s < steps; ++s, at += Codes::kStepBytes, x += Codes::kPairs * h) {
      if (ahead != 0) {
        for (int64_t line = 0; line < Codes::kStepBytes * V / 4; line += 64) {
          _mm_prefetch(at + ahead + 64 * v0 * (Codes::kStepBytes / 256) + line, _MM_HINT_T0);
        }
      }
      add_pairs<Codes, h, V, 0>(codes, at, v0, x, sum);
    }
    if (!grouped) continue;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m512 scale = place.scales(r, v0 + v);
#pragma GCC unroll 16
      for (int t = 0; t < h; ++t) {
        float* total = to + t * kBlockRows + 16 * v;
        _mm512_storeu_ps(total,
                         _mm512_add_ps(_mm512_loadu_ps(total), _mm512_mul_ps(scale, sum[t][v])));
      }
    }
  }
  if (grouped) return;
  for (int t = 0; t < h; ++t) {
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(to + t * kBlockRows + 16 * v, sum[t][v]);
  }
}

template <typename Codes, int V>
using Tile = decltype(&tile<Codes, 1, V>);

template <typename Codes>
void few_tokens(const Codes& codes, const Place& place, const Prepared& x, float* sums) {
  constexpr Tile<Codes, 4> kTiles[kFew] = {tile<Codes, 1, 4>, tile<Codes, 2, 4>, tile<Codes, 3, 4>,
                                           tile<Codes, 4, 4>, tile<Codes, 5, 4>};
  kTiles[x.n - 1](codes, place, 0, static_cast<const int32_t*>(x.packed), 0, kAhead, sums);
}

// The first tile of each half asks for the same half of the next block.
template <typename Codes>
void many_tokens(const Codes& codes, const Place& place, const Prepared& x, float* sums) {
  constexpr Tile<Codes, 2> kTiles[] = {tile<Codes, 1, 2>,  tile<Codes, 2, 2>,  tile<Codes, 3, 2>,
                                       tile<Codes, 4, 2>,  tile<Codes, 5, 2>,  tile<Codes, 6, 2>,
                                       tile<Codes, 7, 2>,  tile<Codes, 8, 2>,  tile<Codes, 9, 2>,
                                       tile<Codes, 10, 2>, tile<Codes, 11, 2>, tile<Codes, 12, 2>};
  const Tiles tiles(place.w.format, x.n);
  const auto* packed = static_cast<const int32_t*>(x.packed);
  for (int v0 = 0; v0 < 4; v0 += 2) {
    for (int32_t i = 0; i < tiles.count; ++i) {
      const int32_t t0 = tiles.first(i), h = tiles.first(i + 1) - t0;
      kTiles[h - 1](codes, place, v0, packed + t0 * place.n_pairs(), t0,
                    i == 0 ? place.blocks.bytes : 0, sums);
    }
  }
}

template <typename Codes>
void multiply(const Codes& codes, const Place& place, const Prepared& x, float* sums) {
  if (x.n <= kFew) {
    few_tokens(codes, place, x, sums);
  } else {
    many_tokens(codes, place, x, sums);
  }
}

void multiply_codes(const Place& place, const Prepared& x, float* sums) {
  const Format& f = place.w.format;
  const bool zeros = f.zeros != 0;
  switch (layout::codes_of(f)) {
    case layout::kNumbers:
      return multiply(Bf16Codes{}, place, x, sums);
    case layout::kNibbles:
      if (f.scheme == kFp4) return multiply(mxfp4_codes(), place, x, sums);
      return multiply(int4_codes(zeros ? 0.0f : 8.0f), place, x, sums);
    case layout::kBytes:
      if (f.scheme == kFp8) return multiply(Fp8Codes{}, place, x, sums);
      return multiply(Int8Codes(zeros ? 0.0f : 128.0f), place, x, sums);
    case layout::kRing:
      return multiply(RingCodes{}, place, x, sums);
  }
}

// 32 columns of a row as 16 pairs, each at a distance of h dwords.
inline void put_pairs(const float* x, int64_t h, int32_t* to) {
  const __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
  if (h == 1) {
    _mm512_storeu_si512(to, pairs);
    return;
  }
  alignas(64) int32_t dwords[16];
  _mm512_store_si512(dwords, pairs);
  for (int64_t i = 0; i < 16; ++i) to[i * h] = dwords[i];
}

}  // namespace

void prepare_pairs(const Matrix& w, const float* const* x, int32_t n, void* room,
                   Prepared* prepared) {
  const Blocks blocks = blocks_of(w.format, w.n_out, w.n_in);
  const int64_t cols = blocks.n_records * blocks.record.cols, group = blocks.record.cols;
  const int32_t* order = layout::order_of(w);
  auto* packed = static_cast<int32_t*>(room);
  auto* x_sums = reinterpret_cast<float*>(packed + n * (cols / 2));
  prepared->n = n;
  prepared->packed = packed;
  const Tiles tiles(w.format, n);
  for (int32_t i = 0; i < tiles.count; ++i) {
    const int32_t t0 = tiles.first(i), h = tiles.first(i + 1) - t0;
    for (int32_t t = t0; t < t0 + h; ++t) {
      int32_t* to = packed + t0 * (cols / 2) + (t - t0);
      for (int64_t k = 0; k < cols; k += 32, to += 16 * h) {
        alignas(64) float part[32];
        const float* from = x[t] + k;
        const int64_t left = w.n_in - k;
        if (order != nullptr || left < 32) {
          for (int64_t j = 0; j < 32; ++j) {
            part[j] = j < left ? x[t][order == nullptr ? k + j : order[k + j]] : 0.0f;
          }
          from = part;
        }
        alignas(64) int32_t last[16];
        // A row's pairs may end before 16 are full: those of the next tile begin there.
        if (cols - k >= 32) {
          put_pairs(from, h, to);
          continue;
        }
        put_pairs(from, 1, last);
        for (int64_t j = 0; j < (cols - k) / 2; ++j) to[j * h] = last[j];
      }
      if (w.format.zeros == 0) continue;
      for (int64_t r = 0; r < blocks.n_records; ++r) {
        float sum = 0.0f;
        for (int64_t k = r * group; k < (r + 1) * group; ++k) {
          const int64_t at = k ^ 1;
          if (at < w.n_in) sum += x[t][order == nullptr ? at : order[at]];
        }
        x_sums[t * blocks.n_records + r] = sum;
      }
    }
  }
}

void product_of_pairs(const Matrix& w, int64_t block, const Prepared& x, float* sums) {
  multiply_codes(Place(w, block, x), x, sums);
  const float s = w.output_scale;
  if (s == 1.0f) return;
  for (int64_t i = 0; i < x.n * kBlockRows; ++i) {
    sums[i] = w.output_divides != 0 ? sums[i] / s : sums[i] * s;
  }
}

}  // namespace mm2::kernels::avx512
