// One row of activations, or two or three: weights go from memory through registers into sums, once.
// Several blocks are read side by side: a core asks for more of several streams than of one.
#include "kernels/cpu/avx512/float_codes.h"
#include "kernels/cpu/avx512/place.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::kBlockRows;

// Bytes that the prefetches are ahead: into the second-level cache, and from there into the first.
constexpr int64_t kFar = 1536, kNear = 768;

// A quarter of a step's lines, v of four.
template <int64_t bytes>
[[gnu::always_inline]] inline void prefetch_lines(const char* step, int v) {
#pragma GCC unroll 4
  for (int64_t line = 64 * v; line < bytes; line += 256) {
    _mm_prefetch(step + kNear + line, _MM_HINT_T0);
    _mm_prefetch(step + kFar + line, _MM_HINT_T1);
  }
}

/// Sums of 64 outputs of several blocks for several rows of activations.
template <int rows, int blocks>
struct Sums {
  __m512 of[rows][blocks][4];

  /// use(t, b, v, sum) for all of them.
  template <typename Use>
  [[gnu::always_inline]] void for_each(const Use& use) {
#pragma GCC unroll 8
    for (int b = 0; b < blocks; ++b) {
#pragma GCC unroll 4
      for (int t = 0; t < rows; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) use(t, b, v, of[t][b][v]);
      }
    }
  }
};

// Where the sums of rows of activations go: [blocks, rows, 64].
template <int rows>
inline float* place_of(float* sums, int t, int b, int v) {
  return sums + (b * rows + t) * kBlockRows + 16 * v;
}

// `at` is in the first block, the others are `distance` further each. x [cols, rows].
template <bool exact, int rows, int blocks, typename Codes>
[[gnu::always_inline]] inline void add_steps(const Codes& codes, const char* at, int64_t distance,
                                             int64_t cols, const float* x,
                                             Sums<rows, blocks>* sums) {
  constexpr int kCols = Codes::kCols;
  for (int64_t k = 0; k < cols; k += kCols, at += Codes::kStepBytes, x += kCols * rows) {
#pragma GCC unroll 8
    for (int b = 0; b < blocks; ++b) {
      const char* step = at + b * distance;
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        prefetch_lines<Codes::kStepBytes>(step, v);
        __m512 w[kCols];
        codes.floats(step, v, w);
#pragma GCC unroll 16
        for (int j = 0; j < kCols; ++j) {
#pragma GCC unroll 4
          for (int t = 0; t < rows; ++t) {
            __m512& sum = sums->of[t][b][v];
            sum = add_product<exact>(sum, w[j], _mm512_set1_ps(x[j * rows + t]));
          }
        }
      }
    }
  }
}

// The same for one exact row: its tables serve every block, half of a step at a time, so that they
// stay in registers.
template <bool exact, int blocks>
requires(exact)
    [[gnu::always_inline]] inline void add_steps(const RingFloats& codes, const char* at,
                                                 int64_t distance, int64_t cols, const float* x,
                                                 Sums<1, blocks>* sums) {
  constexpr int kHalf = RingFloats::kCols / 2;
  const __m512 eighth = _mm512_mul_ps(codes.table, _mm512_set1_ps(0x1p-11f));
  alignas(64) float scales[blocks][4][16];
  for (int64_t k = 0; k < cols; k += 2 * kHalf, at += RingFloats::kStepBytes) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half, x += kHalf) {
      __m512 tables[kHalf];
      for (int j = 0; j < kHalf; ++j) tables[j] = _mm512_mul_ps(eighth, _mm512_set1_ps(x[j]));
#pragma GCC unroll 8
      for (int b = 0; b < blocks; ++b) {
        const char* step = at + b * distance;
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          if (half == 0) {
            prefetch_lines<RingFloats::kStepBytes>(step, v);
            _mm512_store_ps(scales[b][v], RingFloats::scales<3>(step, v));
          }
          RingFloats::add(step + 256 * half + 64 * v, tables, _mm512_load_ps(scales[b][v]),
                          &sums->of[0][b][v]);
        }
      }
    }
  }
}

// One chain over the whole row.
template <bool exact, int rows, int blocks, typename Codes>
void chain(const Place& place, const Codes& codes, const Rows& x, float* sums) {
  Sums<rows, blocks> sum;
  sum.for_each([](int, int, int, __m512& s) { s = _mm512_setzero_ps(); });
  const layout::Blocks& b = place.blocks;
  add_steps<exact>(codes, place.start, b.bytes, b.n_records * b.record.cols, x.data, &sum);
  sum.for_each([sums](int t, int block, int v, const __m512& s) {
    _mm512_store_ps(place_of<rows>(sums, t, block, v), s);
  });
}

// A chain for each record, then its scale.
template <bool exact, int rows, int blocks, typename Codes>
void chains(const Place& place, const Codes& codes, const Rows& x, float* sums) {
  const int64_t cols = place.blocks.record.cols;
  const bool zeros = place.w.format.zeros != 0;
  for (int i = 0; i < 4 * rows * blocks; ++i) _mm512_store_ps(sums + 16 * i, _mm512_setzero_ps());
  for (int64_t r = 0; r < place.blocks.n_records; ++r) {
    Sums<rows, blocks> sum;
    if (zeros) {
      const float* x_sums = group_sums(x, r);
      sum.for_each(
          [&](int t, int b, int v, __m512& s) { s = below_zero(place.zeros(b, r, v), x_sums[t]); });
    } else {
      sum.for_each([](int, int, int, __m512& s) { s = _mm512_setzero_ps(); });
    }
    add_steps<exact>(codes, place.record(r), place.blocks.bytes, cols, x.data + r * cols * rows,
                     &sum);
    sum.for_each([&](int t, int b, int v, const __m512& s) {
      float* to = place_of<rows>(sums, t, b, v);
      const __m512 scaled = _mm512_mul_ps(place.scales(b, r, v), s);
      _mm512_store_ps(to, _mm512_add_ps(_mm512_load_ps(to), scaled));
    });
  }
}

template <bool exact, int rows, int blocks, typename Codes>
void multiply_blocks(const Place& place, const Codes& codes, const Rows& x, float* sums) {
  if (sum_group(place.w.format) == 0) {
    chain<exact, rows, blocks>(place, codes, x, sums);
  } else {
    chains<exact, rows, blocks>(place, codes, x, sums);
  }
}

// Returns how many blocks it has multiplied, `blocks` at a time.
template <bool exact, int rows, int blocks, typename Codes>
int64_t multiply(const Matrix& w, int64_t block, int64_t n, const Codes& codes, const Rows& x,
                 float* sums) {
  int64_t b = 0;
  for (; n - b >= blocks; b += blocks) {
    multiply_blocks<exact, rows, blocks>(Place(w, block + b), codes, x,
                                         sums + b * rows * kBlockRows);
  }
  return b;
}

}  // namespace

int64_t product_of_few(const Matrix& w, int64_t block, int64_t n_blocks, const Rows& x,
                       float* sums) {
  const bool exact = is_exact(w.format, x.packing.activations);
  int64_t done = 0;
  with_codes(w.format, [&]<typename Codes>(const Codes& codes) {
    if (x.n == 2 && exact) done = multiply<true, 2, 3>(w, block, n_blocks, codes, x, sums);
    if (x.n == 3 && exact) done = multiply<true, 3, 2>(w, block, n_blocks, codes, x, sums);
    // A whole tile of rows leaves no registers for decoding, but nibbles want none.
    if constexpr (Codes::kCols == 8) {
      if (x.n == 4 && exact) done = multiply<true, 4, 1>(w, block, n_blocks, codes, x, sums);
    }
    if (x.n != 1) return;
    // Products that are not exact are those of the router's F32, or of activations that nobody has
    // rounded: only the former are worth the code of several streams.
    constexpr int kStreams = Codes::kStreams, kInexact = Codes::kF32 ? kStreams : 1;
    done = exact ? multiply<true, 1, kStreams>(w, block, n_blocks, codes, x, sums)
                 : multiply<false, 1, kInexact>(w, block, n_blocks, codes, x, sums);
    const int64_t left = n_blocks - done;
    float* to = sums + done * kBlockRows;
    if (exact) {
      done += multiply<true, 1, 1>(w, block + done, left, codes, x, to);
    } else {
      done += multiply<false, 1, 1>(w, block + done, left, codes, x, to);
    }
  });
  return done;
}

}  // namespace mm2::kernels::avx512
