// Integers times integers, with vpdpbusd. Up to one tile of rows: weights go from memory through
// registers into sums, several blocks side by side. More: 128 columns of a block become bytes in the
// first-level cache, which serve one tile after the other.
#include "kernels/cpu/avx512/int8_codes.h"
#include "kernels/cpu/avx512/place.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::kBlockRows;

constexpr int64_t kDwords = kSumGroup / 4;  // of a row's group
constexpr int64_t kMostParts = 4;           // sum groups of 128 columns

// Bytes that the prefetches of few rows are ahead, as in product_of_few.cpp.
constexpr int64_t kFar = 1536, kNear = 768;

/// 128 columns of a tile of h rows, and the part of them that is sum group `part` of so many.
struct TileRows {
  const int32_t* codes;   // [dwords, h]
  const int32_t* scales;  // [h], bits of floats
  const int32_t* starts;  // [h]

  TileRows(const int32_t* group, int64_t h, int64_t part, int64_t cols)
      : codes(group + part * (cols / 4) * h),
        scales(group + kDwords * h),
        starts(scales + h + part * h) {}
  float scale(int t) const { return float_of(static_cast<uint32_t>(scales[t])); }
};

// sum += products of four bytes of w and x. As an instruction of its own: through the intrinsic g++ 12
// does not keep 24 sums in registers.
[[gnu::always_inline]] inline void add_products(__m512i& sum, __m512i w, __m512i x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
}

// Where a sum begins: below 0 by what the zeros of the weights take. A zero and a sum of codes have 16
// bits each.
template <bool zeros>
[[gnu::always_inline]] inline __m512i first_sum(int32_t start, __m512i zero) {
  const __m512i all = _mm512_set1_epi32(start);
  return zeros ? _mm512_madd_epi16(zero, all) : all;
}

inline void add_scaled(float* to, __m512 w_scale, float x_scale, __m512i sum) {
  const __m512 scale = _mm512_mul_ps(w_scale, _mm512_set1_ps(x_scale));
  const __m512 scaled = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sum));
  _mm512_store_ps(to, _mm512_add_ps(_mm512_load_ps(to), scaled));
}

inline void clear(float* sums, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) _mm512_store_ps(sums + i, _mm512_setzero_ps());
}

template <bool zeros, int rows, int blocks>
[[gnu::always_inline]] inline void begin(const Place& place, int64_t r, const TileRows& of,
                                         __m512i (&sum)[blocks][rows][4]) {
#pragma GCC unroll 8
  for (int b = 0; b < blocks; ++b) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const __m512i zero = zeros ? place.zero_codes(b, r, v) : __m512i{};
#pragma GCC unroll 8
      for (int t = 0; t < rows; ++t) sum[b][t][v] = first_sum<zeros>(of.starts[t], zero);
    }
  }
}

// `blocks` blocks from place on; sums [blocks, rows, 64].
template <int rows, int blocks, typename Codes>
void few(const Place& place, const Codes& codes, const Rows& x, float* sums) {
  const int64_t cols = place.blocks.record.cols, parts = kSumGroup / cols;
  const int64_t distance = place.blocks.bytes;
  clear(sums, rows * blocks * kBlockRows);
  for (int64_t r = 0; r < place.blocks.n_records; ++r) {
    const TileRows of(int8_group(x, r / parts, 0), rows, r % parts, cols);
    __m512i sum[blocks][rows][4];
    if (place.w.format.zeros != 0) {
      begin<true>(place, r, of, sum);
    } else {
      begin<false>(place, r, of, sum);
    }
    const char* at = place.record(r);
    const int32_t* dwords = of.codes;
    for (int64_t k = 0; k < cols; k += Codes::kCols) {
#pragma GCC unroll 8
      for (int b = 0; b < blocks; ++b) {
        const char* step = at + b * distance;
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          _mm_prefetch(step + kNear + 64 * v, _MM_HINT_T0);
          _mm_prefetch(step + kFar + 64 * v, _MM_HINT_T1);
          __m512i w[Codes::kDwords];
          codes.bytes(step, v, w);
#pragma GCC unroll 2
          for (int d = 0; d < Codes::kDwords; ++d) {
#pragma GCC unroll 8
            for (int t = 0; t < rows; ++t) {
              add_products(sum[b][t][v], w[d], _mm512_set1_epi32(dwords[d * rows + t]));
            }
          }
        }
      }
      at += kInt8StepBytes;
      dwords += Codes::kDwords * rows;
    }
#pragma GCC unroll 8
    for (int b = 0; b < blocks; ++b) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        const __m512 scale = place.scales(b, r, v);
#pragma GCC unroll 8
        for (int t = 0; t < rows; ++t) {
          add_scaled(sums + (b * rows + t) * kBlockRows + 16 * v, scale, of.scale(t), sum[b][t][v]);
        }
      }
    }
  }
}

// Blocks in bundles of `blocks`, then one by one.
template <int rows, int blocks, typename Codes>
void multiply_few(const Matrix& w, int64_t block, int64_t n, const Codes& codes, const Rows& x,
                  float* sums) {
  int64_t b = 0;
  for (; n - b >= blocks; b += blocks) {
    few<rows, blocks>(Place(w, block + b), codes, x, sums + b * rows * kBlockRows);
  }
  for (; blocks > 1 && b < n; ++b) {
    few<rows, 1>(Place(w, block + b), codes, x, sums + b * rows * kBlockRows);
  }
}

/// 128 columns of a block.
struct Piece {
  alignas(64) char codes[kSumGroup * kBlockRows];  // [dwords, 64 rows, 4]
  alignas(64) float scales[kMostParts * kBlockRows];
  alignas(64) int32_t zeros[kMostParts * kBlockRows];
};

template <typename Codes>
void expand(const Place& place, const Codes& codes, int64_t g, int64_t parts, Piece* piece) {
  const int64_t cols = place.blocks.record.cols, first = g * (kSumGroup / cols);
  char* to = piece->codes;
  for (int64_t part = 0; part < parts; ++part) {
    const char* at = place.record(first + part);
    for (int64_t k = 0; k < cols; k += Codes::kCols, at += kInt8StepBytes) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        __m512i w[Codes::kDwords];
        codes.bytes(at, v, w);
#pragma GCC unroll 2
        for (int d = 0; d < Codes::kDwords; ++d) {
          _mm512_store_si512(to + d * kInt8StepBytes + 64 * v, w[d]);
        }
      }
      to += Codes::kDwords * kInt8StepBytes;
    }
    for (int v = 0; v < 4; ++v) {
      const int64_t at_row = part * kBlockRows + 16 * v;
      _mm512_store_ps(piece->scales + at_row, place.scales(0, first + part, v));
      if (place.w.format.zeros == 0) continue;
      _mm512_store_si512(piece->zeros + at_row, place.zero_codes(0, first + part, v));
    }
  }
}

/// A sum group of a piece and a tile of rows.
struct TileWork {
  const char* weights;   // [cols / 4, 64, 4]
  const float* scales;   // [64]
  const int32_t* zeros;  // [64], where there are some
  const int32_t* group;  // of the rows: its sum group `part` of so many columns
  int64_t part, cols;
  float* sums;        // [h, 64]
  const char* ahead;  // what is to come into the cache meanwhile, in so many lines for each kUnit
  int64_t lines;
};

constexpr int64_t kUnit = 8;  // dwords: every sum group is a multiple of it

template <int h, bool zeros>
void tile(const TileWork& work) {
  const TileRows rows(work.group, h, work.part, work.cols);
  __m512i sum[h][4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const __m512i zero = zeros ? _mm512_load_si512(work.zeros + 16 * v) : __m512i{};
#pragma GCC unroll 6
    for (int t = 0; t < h; ++t) sum[t][v] = first_sum<zeros>(rows.starts[t], zero);
  }
  const char *w = work.weights, *ahead = work.ahead;
  const int32_t* x = rows.codes;
  for (int64_t unit = 0; unit < work.cols / (4 * kUnit); ++unit) {
    for (int64_t line = kUnit; line < work.lines; ++line, ahead += 64) {
      _mm_prefetch(ahead, _MM_HINT_T0);
    }
    // Spread out: too many lines at once and the processor waits for the first of them.
    for (int64_t d = 0; d < kUnit; ++d, w += kInt8StepBytes, x += h) {
      if (d < work.lines) _mm_prefetch(ahead, _MM_HINT_T0), ahead += 64;
      __m512i row[4];
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) row[v] = _mm512_load_si512(w + 64 * v);
#pragma GCC unroll 6
      for (int t = 0; t < h; ++t) {
        const __m512i factor = _mm512_set1_epi32(x[t]);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) add_products(sum[t][v], row[v], factor);
      }
    }
  }
  const float* scales = work.scales;
  float* sums = work.sums;
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const __m512 scale = _mm512_load_ps(scales + 16 * v);
#pragma GCC unroll 6
    for (int t = 0; t < h; ++t) {
      add_scaled(sums + t * kBlockRows + 16 * v, scale, rows.scale(t), sum[t][v]);
    }
  }
}

template <bool zeros>
void run_tile(int32_t h, const TileWork& work) {
  constexpr decltype(&tile<1, zeros>) kTiles[kFloatTile] = {tile<1, zeros>, tile<2, zeros>,
                                                            tile<3, zeros>, tile<4, zeros>,
                                                            tile<5, zeros>, tile<6, zeros>};
  kTiles[h - 1](work);
}

template <typename Codes>
void many(const Place& place, const Codes& codes, const Rows& x, float* sums) {
  Piece piece;
  const Tiles tiles(tiles_of(x.packing, x.n));
  const int64_t cols = place.blocks.record.cols, most_parts = kSumGroup / cols;
  const auto run = place.w.format.zeros != 0 ? run_tile<true> : run_tile<false>;
  clear(sums, x.n * kBlockRows);
  for (int64_t g = 0; g * most_parts < place.blocks.n_records; ++g) {
    const int64_t left = place.blocks.n_records - g * most_parts;
    const int64_t parts = left < most_parts ? left : most_parts;
    expand(place, codes, g, parts, &piece);
    // The tiles share the lines of the next piece.
    const int64_t bytes = parts * place.blocks.record.bytes;
    const int64_t units = parts * cols / (4 * kUnit) * tiles.count;
    const int64_t lines = (bytes / 64 + units - 1) / units;
    TileWork work{};
    work.cols = cols;
    work.ahead = place.record(g * most_parts) + bytes;
    const char* last = work.ahead + bytes;
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t t0 = tiles.first[i];
      work.group = int8_group(x, g, t0);
      work.sums = sums + t0 * kBlockRows;
      for (work.part = 0; work.part < parts; ++work.part) {
        work.weights = piece.codes + work.part * cols * kBlockRows;
        work.scales = piece.scales + work.part * kBlockRows;
        work.zeros = piece.zeros + work.part * kBlockRows;
        work.lines = work.ahead < last ? lines : 0;
        run(tiles.size(i), work);
        work.ahead += lines * (cols / (4 * kUnit)) * 64;
      }
    }
  }
}

template <typename Codes>
void multiply(const Matrix& w, int64_t block, int64_t n, const Codes& codes, const Rows& x,
              float* sums) {
  switch (x.n) {
    case 1:
      return multiply_few<1, 6>(w, block, n, codes, x, sums);
    case 2:
      return multiply_few<2, 3>(w, block, n, codes, x, sums);
    case 3:
      return multiply_few<3, 2>(w, block, n, codes, x, sums);
    case 4:
      return multiply_few<4, 1>(w, block, n, codes, x, sums);
    case 5:
      return multiply_few<5, 1>(w, block, n, codes, x, sums);
    case 6:
      return multiply_few<6, 1>(w, block, n, codes, x, sums);
    default:
      for (int64_t b = 0; b < n; ++b) {
        many(Place(w, block + b), codes, x, sums + b * x.n * kBlockRows);
      }
  }
}

}  // namespace

void product_of_int8(const Matrix& w, int64_t block, int64_t n_blocks, const Rows& x, float* sums) {
  if (w.format.bits == 8) return multiply(w, block, n_blocks, WholeBytes{}, x, sums);
  multiply(w, block, n_blocks, NibbleBytes{}, x, sums);
}

}  // namespace mm2::kernels::avx512
