// The one inner product: everything that multiplies by weights goes through it, so that one token
// and a thousand get the same bits.
#pragma once

#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::generic {

using common::kTokenGroup;
using layout::block_at;
using layout::Blocks;
using layout::blocks_of;
using layout::kBlockRows;
using layout::n_pairs;

/// As kernels/cpu/common/activations.h says.
void product(const Matrix& w, int64_t block, const common::Prepared& x, int32_t activations,
             float* sums);

/// Several chains side by side, the sums of attention too: for t < n <= kTile and each lane,
/// sums[t][lane] += values[step][lane] * factors[step][t], steps ascending, each product rounded.
/// lanes: a multiple of 8. values [n_steps, lanes] at distance value_stride; sums at distance
/// sum_stride; factors [n_steps, n, 4]: each four times.
constexpr int32_t kTile = 4;
void add_products(const float* values, int64_t value_stride, int64_t lanes, const float* factors,
                  int64_t n_steps, int32_t n, float* sums, int64_t sum_stride);

}  // namespace mm2::kernels::generic
