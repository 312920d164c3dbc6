// One row of activations: weights go from memory through registers into sums, once. Several blocks
// are read side by side: a core asks for more of several streams than of one.
#include "kernels/cpu/avx512/float_codes.h"
#include "kernels/cpu/avx512/place.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::kBlockRows;

// Bytes that the prefetches are ahead: into the second-level cache, and from there into the first.
constexpr int64_t kFar = 1280, kNear = 512;

/// Sums of 64 rows of several blocks.
template <int blocks>
struct Sums {
  __m512 of[blocks][4];
};

template <int blocks>
inline void clear(Sums<blocks>* sums) {
#pragma GCC unroll 8
  for (int b = 0; b < blocks; ++b) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums->of[b][v] = _mm512_setzero_ps();
  }
}

// `at` is in the first block, the others are `distance` further each.
template <bool exact, int blocks, typename Codes>
[[gnu::always_inline]] inline void add_steps(const Codes& codes, const char* at, int64_t distance,
                                             int64_t cols, const float* x, Sums<blocks>* sums) {
  constexpr int kCols = Codes::kCols;
  for (int64_t k = 0; k < cols; k += kCols, at += Codes::kStepBytes, x += kCols) {
#pragma GCC unroll 8
    for (int b = 0; b < blocks; ++b) {
      const char* step = at + b * distance;
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
#pragma GCC unroll 4
        for (int64_t line = 64 * v; line < Codes::kStepBytes; line += 256) {
          _mm_prefetch(step + kNear + line, _MM_HINT_T0);
          _mm_prefetch(step + kFar + line, _MM_HINT_T1);
        }
        __m512 w[kCols];
        codes.floats(step, v, w);
#pragma GCC unroll 16
        for (int j = 0; j < kCols; ++j) {
          sums->of[b][v] = add_product<exact>(sums->of[b][v], w[j], _mm512_set1_ps(x[j]));
        }
      }
    }
  }
}

// One chain over the whole row.
template <bool exact, int blocks, typename Codes>
void chain(const Place& place, const Codes& codes, const float* x, float* sums) {
  Sums<blocks> sum;
  clear(&sum);
  const layout::Blocks& b = place.blocks;
  add_steps<exact>(codes, place.start, b.bytes, b.n_records * b.record.cols, x, &sum);
  for (int i = 0; i < 4 * blocks; ++i) _mm512_store_ps(sums + 16 * i, sum.of[i / 4][i % 4]);
}

// A chain for each record, then its scale.
template <bool exact, int blocks, typename Codes>
void chains(const Place& place, const Codes& codes, const float* x, const float* x_sums,
            float* sums) {
  const int64_t cols = place.blocks.record.cols;
  const bool zeros = place.w.format.zeros != 0;
  Sums<blocks> sum;
  for (int i = 0; i < 4 * blocks; ++i) _mm512_store_ps(sums + 16 * i, _mm512_setzero_ps());
  for (int64_t r = 0; r < place.blocks.n_records; ++r) {
    clear(&sum);
    if (zeros) {
#pragma GCC unroll 32
      for (int i = 0; i < 4 * blocks; ++i) {
        sum.of[i / 4][i % 4] = below_zero(place.zeros(i / 4, r, i % 4), x_sums[r]);
      }
    }
    add_steps<exact>(codes, place.record(r), place.blocks.bytes, cols, x + r * cols, &sum);
#pragma GCC unroll 32
    for (int i = 0; i < 4 * blocks; ++i) {
      const __m512 scaled = _mm512_mul_ps(place.scales(i / 4, r, i % 4), sum.of[i / 4][i % 4]);
      _mm512_store_ps(sums + 16 * i, _mm512_add_ps(_mm512_load_ps(sums + 16 * i), scaled));
    }
  }
}

template <bool exact, int blocks, typename Codes>
void multiply_blocks(const Place& place, const Codes& codes, const Rows& x, float* sums) {
  if (sum_group(place.w.format) == 0) {
    chain<exact, blocks>(place, codes, x.data, sums);
  } else {
    chains<exact, blocks>(place, codes, x.data, group_sums(x, 0), sums);
  }
}

template <bool exact, typename Codes>
void multiply(const Matrix& w, int64_t block, int64_t n, const Codes& codes, const Rows& x,
              float* sums) {
  // Side by side where it is worth its code: products that are not exact are those of the router's
  // F32, or of activations that nobody has rounded.
  constexpr int kStreams = exact || Codes::kF32 ? Codes::kStreams : 1;
  int64_t b = 0;
  for (; n - b >= kStreams; b += kStreams) {
    multiply_blocks<exact, kStreams>(Place(w, block + b), codes, x, sums + b * kBlockRows);
  }
  for (; kStreams > 1 && b < n; ++b) {
    multiply_blocks<exact, 1>(Place(w, block + b), codes, x, sums + b * kBlockRows);
  }
}

}  // namespace

void product_of_one(const Matrix& w, int64_t block, int64_t n_blocks, const Rows& x, float* sums) {
  const bool exact = is_exact(w.format, x.packing.activations);
  with_codes(w.format, [&](const auto& codes) {
    if (exact) {
      multiply<true>(w, block, n_blocks, codes, x, sums);
    } else {
      multiply<false>(w, block, n_blocks, codes, x, sums);
    }
  });
}

}  // namespace mm2::kernels::avx512
