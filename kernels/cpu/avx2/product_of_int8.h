// Products of integers, for activations of kI8.
#pragma once

#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::avx2 {

/// Rows x as dwords of four 8-bit codes in the order in which nibbles come apart, or of two 16-bit ones
/// where weights have 8 bits; then, for each sum group, what its sum begins with.
void prepare_int8(const Matrix& w, const float* const* x, int32_t n, void* room,
                  common::Prepared* prepared);

/// The product that reads them, without what the output is multiplied by.
void product_of_int8(const Matrix& w, int64_t block, const common::Prepared& x, float* sums);

}  // namespace mm2::kernels::avx2
