// Inner products of the rows of two matrices in F64.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mm2 {

/// products[i, j] = sum over k of a[i, k] * b[j, k]. Products of floats are exact in F64; they are
/// added in four lanes (k mod 4), so a result depends on its own two rows alone.
std::vector<double> row_products(std::span<const float> a,  // [n_a, width]
                                 std::span<const float> b,  // [n_b, width]
                                 size_t n_a, size_t n_b, size_t width);

/// The inner product of a row with a vector of doubles, added in the same order.
double row_product(const float* row, const double* vector, size_t width);

}  // namespace mm2
