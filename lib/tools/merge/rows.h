// Arithmetic on single rows, with an order of operations that is part of the result.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mm2 {

/// Sum of a[i] * b[i] in FP64: eight lanes, then their sum pair by pair.
double row_dot(const float* a, const float* b, int64_t n);

/// aa, ab, bb of two rows at once; each equals row_dot.
void row_dots(const float* a, const float* b, int64_t n, double* sums);

/// Sum of magnitudes, in the order of row_dot.
double row_magnitude(const float* a, int64_t n);

/// out = sum of coefficients[k] * rows[k], in FP64 in the order of k, rounded once. out may be one
/// of the rows.
void combine_rows(const float* const* rows, const double* coefficients, size_t n_rows, int64_t n,
                  float* out);

/// Place of the first NaN or infinity, -1 when there is none.
int64_t first_not_finite(const float* a, int64_t n);

}  // namespace mm2
