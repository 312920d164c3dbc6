// Codes of packed weights as floats.
#pragma once

#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::generic {

/// One record of codes, [record.cols, 64], in the order in which columns are added: of each pair
/// the odd one first. Scales that lie in the code are applied, others are not; kInteger without
/// zeros counts from 2^(bits - 1).
void expand_codes(const Format& f, const layout::Record& record, const char* at, float* to);

/// The scales of the 64 rows for record r of a block.
void expand_scales(const Format& f, const layout::Blocks& blocks, const char* block, int64_t r,
                   float* to);

}  // namespace mm2::kernels::generic
