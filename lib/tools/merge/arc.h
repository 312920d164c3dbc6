// Merges that are a linear combination of the parents once the products of all pairs are known.
#pragma once

#include <cstddef>
#include <vector>

#include "tools/merge/method.h"

namespace mm2 {

struct ArcStep {
  bool arc = false;  // false: the straight line
  double cosine = 0;
  double first = 0, second = 0;  // coefficients
};

/// mergekit's slerp: a vector is normalised if its norm is above 1e-8; the straight line where
/// |cosine| is above 0.9995, opposite vectors too. aa, ab, bb: products of the two vectors.
ArcStep slerp_step(double aa, double ab, double bb, double t);

/// The same of nuslerp: norms of at least 1e-7, the straight line only where the sine is below
/// 1e-8.
ArcStep nuslerp_step(double aa, double ab, double bb, double t);

/// Where nuslerp's weights lie on the way from the first to the second.
double nuslerp_t(double first_weight, double second_weight);

/// Products of n vectors, row-major [n, n], symmetric.
class Gram {
 public:
  explicit Gram(size_t n) : n_(n), values_(n * n) {}
  size_t n() const { return n_; }
  double at(size_t i, size_t j) const { return values_[i < j ? i * n_ + j : j * n_ + i]; }
  void add(size_t i, size_t j, double product) {
    values_[i < j ? i * n_ + j : j * n_ + i] += product;
  }
  /// Product of two combinations of the vectors.
  double product(const std::vector<double>& x, const std::vector<double>& y) const;
  double norm(const std::vector<double>& x) const;

 private:
  size_t n_;
  std::vector<double> values_;
};

/// Coefficients of the vectors. Where their directions cancel, the weighted mean.
std::vector<double> multislerp_coefficients(const Gram& gram, std::vector<double> weights);
/// Of equal weights.
std::vector<double> karcher_coefficients(const Gram& gram, int max_iterations, double tolerance);
/// gram: of the differences from the base. Coefficients of the differences.
std::vector<double> model_stock_coefficients(const Gram& gram);

}  // namespace mm2
