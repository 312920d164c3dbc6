// The one inner product of this instruction set: eight rows at a time, with fused multiply-adds where products are exact.
#pragma once

#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::avx2 {

/// As kernels/cpu/common/activations.h says.
void product(const Matrix& w, int64_t block, const common::Prepared& x, int32_t activations,
             float* sums);

}  // namespace mm2::kernels::avx2
