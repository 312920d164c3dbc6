// BF16 activations meet weights that are exact in BF16 in pairs; everything else goes the way of AVX2.
#include "kernels/cpu/avx512/product.h"

#include "kernels/cpu/avx2/product.h"
#include "kernels/cpu/avx512/product_pairs.h"

namespace mm2::kernels::avx512 {

void prepare(const Matrix& w, const float* const* x, int32_t n, int32_t activations, void* room,
             common::Prepared* prepared) {
  const bool exact = !is_plain(w.format) || w.format.number == kBF16;
  if (exact && activations == kBF16) {
    prepare_pairs(w, x, n, room, prepared);
  } else {
    common::order_rows(w, x, n, room, prepared);
  }
}

void product(const Matrix& w, int64_t block, const common::Prepared& x, int32_t activations,
             float* sums) {
  if (x.packed != nullptr) {
    product_of_pairs(w, block, x, sums);
  } else {
    avx2::product(w, block, x, activations, sums);
  }
}

}  // namespace mm2::kernels::avx512
