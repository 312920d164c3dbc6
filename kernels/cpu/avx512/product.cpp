#include "kernels/cpu/avx512/product.h"

#include <immintrin.h>

namespace mm2::kernels::avx512 {
namespace {

using layout::kBlockRows;

void scale_output(const Matrix& w, int64_t n, float* sums) {
  const __m512 s = _mm512_set1_ps(w.output_scale);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 sum = _mm512_load_ps(sums + i);
    _mm512_store_ps(sums + i,
                    w.output_divides != 0 ? _mm512_div_ps(sum, s) : _mm512_mul_ps(sum, s));
  }
}

}  // namespace

void product(const Matrix& w, int64_t block, int64_t n_blocks, const Rows& x, float* sums) {
  int64_t done = 0;
  if (x.packing.activations == kI8) {
    product_of_int8(w, block, n_blocks, x, sums);
    done = n_blocks;
  } else if (!x.packing.pairs) {
    done = product_of_few(w, block, n_blocks, x, sums);
  }
  for (int64_t b = done; b < n_blocks; ++b) {
    float* to = sums + b * x.n * kBlockRows;
    if (x.packing.pairs) {
      product_of_pairs(w, block + b, x, to);
    } else {
      product_of_many(w, block + b, x, to);
    }
  }
  if (w.output_scale != 1.0f) scale_output(w, n_blocks * x.n * kBlockRows, sums);
}

}  // namespace mm2::kernels::avx512
