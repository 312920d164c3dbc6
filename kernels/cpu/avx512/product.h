// The one inner product of this instruction set, in two ways that give the same bits. With floats:
// weights become floats and products are fused multiply-adds. In pairs of BF16: vdpbf16ps, which
// multiplies and adds the odd column of a pair, then the even one, each rounded to nearest, but takes
// subnormal numbers for 0; it is the faster one only where it is not made of multiply-adds. And in
// integers, for activations of kI8.
#pragma once

#include "kernels/cpu/avx512/packed_rows.h"

namespace mm2::kernels::avx512 {

/// Rows of a tile of floats: 24 sums of 16 numbers, 4 weights and one activation fill the registers.
constexpr int32_t kFloatTile = 6;
/// Rows of a tile of pairs.
int32_t pair_tile(const Format& f);

/// Blocks that are worth being multiplied together: few rows read several streams of weights.
static inline int64_t blocks_together(int32_t n_rows) {
  return n_rows <= 3 ? 6 : 1;
}

/// For n_blocks <= blocks_together(x.n) from `block` on:
///   sums[b, t, i] = sum over k of w[64 (block + b) + i, k] * x[t][k]
/// in the order of kernels/api/ops.h; sums [n_blocks, x.n, 64], 64-byte aligned.
void product(const Matrix& w, int64_t block, int64_t n_blocks, const Rows& x, float* sums);

// The parts of it, without what the output is multiplied by.
/// A few rows, as many blocks as fit together; returns how many.
int64_t product_of_few(const Matrix& w, int64_t block, int64_t n_blocks, const Rows& x,
                       float* sums);
void product_of_many(const Matrix& w, int64_t block, const Rows& x, float* sums);
void product_of_pairs(const Matrix& w, int64_t block, const Rows& x, float* sums);
void product_of_int8(const Matrix& w, int64_t block, int64_t n_blocks, const Rows& x, float* sums);

}  // namespace mm2::kernels::avx512
