// Products in pairs of BF16: vdpbf16ps multiplies and adds the odd K of a pair, then the even one, each
// rounded to nearest, which is the order of kernels/api/ops.h. Subnormal numbers count as 0.
#pragma once

#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::avx512 {

/// As `prepare` and `product` of kernels/cpu/common/activations.h, for activations in BF16 and weights
/// that are exact in BF16: all but plain F32 and F16.
void prepare_pairs(const Matrix& w, const float* const* x, int32_t n, void* room,
                   common::Prepared* prepared);
void product_of_pairs(const Matrix& w, int64_t block, const common::Prepared& x, float* sums);

}  // namespace mm2::kernels::avx512
