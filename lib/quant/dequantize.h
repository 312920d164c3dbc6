// A matrix as plain numbers: what tools and tests compare with.
#pragma once

#include "quant/coded_matrix.h"

namespace mm2 {

/// Rows [first_row, first_row + n_rows) of a weight, plain or quantised, as F32 row by row in the
/// order of its inputs; `to` takes n_rows * place.n_cols() of them. The order of operations, each
/// rounded to F32: (code - zero) * scale; with a global scale, code * (scale * global) or
/// code * (scale / global). Reads what it needs each time it is called.
Status dequantize_rows(const WeightPlace& place, const WeightDescription& description,
                       const TensorSource& source, int64_t first_row, int64_t n_rows, float* to);

/// Numbers of a row of E4M3 codes, none of them NaN: each times the scale of its patch_cols neighbours.
void dequantize_e4m3_row(const uint8_t* codes, const float* scales, int64_t patch_cols,
                         int64_t n_cols, float* to);

}  // namespace mm2
