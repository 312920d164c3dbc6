// The one inner product of this instruction set: eight rows at a time, with fused multiply-adds where products are exact, in
// integers for activations of kI8.
#pragma once

#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::avx2 {

/// As kernels/cpu/common/activations.h says.
void prepare(const Matrix& w, const float* const* x, int32_t n, int32_t activations, void* room,
             common::Prepared* prepared);
void product(const Matrix& w, int64_t block, const common::Prepared& x, int32_t activations,
             float* sums);

}  // namespace mm2::kernels::avx2
