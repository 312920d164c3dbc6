// The one inner product of this instruction set: as kernels/cpu/generic/product.h, eight rows at a
// time, with fused multiply-adds where products are exact.
#pragma once

#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::avx2 {

/// As kernels/cpu/common/activations.h says.
void block_product(const Matrix& w, int64_t block, const float* const* x, int32_t n_tokens,
                   bool exact, float* sums);

}  // namespace mm2::kernels::avx2
