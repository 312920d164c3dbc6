// The factor of a Hessian that GPTQ works with.
#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tools/quantize/gptq.h"

namespace mm2 {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Status check(std::span<const float> hessian, int64_t n) {
  constexpr int64_t kMost = 1 << 20;  // n * n is a number then
  if (n < 0 || n > kMost || static_cast<int64_t>(hessian.size()) != n * n) {
    return error(Code::invalid_argument, "a Hessian of ", hessian.size(), " numbers for ", n,
                 " columns");
  }
  for (int64_t i = 0; i < n * n; ++i) {
    const float x = hessian[static_cast<size_t>(i)];
    if (std::isfinite(x) && (i / n != i % n || x >= 0)) continue;
    return error(Code::numeric, "the Hessian at [", i / n, ", ", i % n, "] is ", x,
                 std::isfinite(x) ? ", must not be negative on the diagonal" : ", must be finite");
  }
  return {};
}

void sort_descending(const std::vector<double>& by, std::span<int32_t> order) {
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return by[static_cast<size_t>(a)] > by[static_cast<size_t>(b)];
  });
}

std::vector<int32_t> column_order(const std::vector<double>& diagonal, ColumnOrder kind,
                                  size_t group) {
  std::vector<int32_t> order(diagonal.size());
  std::iota(order.begin(), order.end(), 0);
  if (kind == ColumnOrder::columns) sort_descending(diagonal, order);
  if (kind != ColumnOrder::groups || order.empty()) return order;
  std::vector<double> largest;
  for (size_t first = 0; first < order.size(); first += group) {
    sort_descending(diagonal, std::span(order).subspan(first, group));
    largest.push_back(diagonal[static_cast<size_t>(order[first])]);
  }
  std::vector<int32_t> groups(largest.size());
  std::iota(groups.begin(), groups.end(), 0);
  sort_descending(largest, groups);
  std::vector<int32_t> whole;
  for (const int32_t g : groups) {
    const auto from = order.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(g) * group);
    whole.insert(whole.end(), from, from + static_cast<ptrdiff_t>(group));
  }
  return whole;
}

/// The Hessian in the order of rounding, backwards: with L L' of that, U is the inverse of L backwards.
class Factoring {
 public:
  Factoring(std::span<const float> hessian, HessianFactor& factor)
      : hessian_(hessian), factor_(factor), n_(factor.n_cols) {}

  // False where it is not definite with so much on the diagonal.
  bool run(double added) {
    Matrix lower(n_, n_);
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j <= i; ++j) lower(i, j) = entry(n_ - 1 - i, n_ - 1 - j);
      lower(i, i) += added;
    }
    const Eigen::LLT<Eigen::Ref<Matrix>> done(lower);  // in place
    if (done.info() != Eigen::Success) return false;
    Matrix inverse = Matrix::Identity(n_, n_);
    // The inverse has nothing above the diagonal either: columns in blocks, from their first row on.
    constexpr int64_t kBlock = 128;
    for (int64_t c = 0; c < n_; c += kBlock) {
      auto columns = inverse.block(c, c, n_ - c, std::min(kBlock, n_ - c));
      lower.bottomRightCorner(n_ - c, n_ - c).triangularView<Eigen::Lower>().solveInPlace(columns);
    }
    if (!inverse.allFinite()) return false;
    factor_.upper.resize(static_cast<size_t>(n_ * n_));
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        factor_.upper[static_cast<size_t>(i * n_ + j)] =
            j < i ? 0 : inverse(n_ - 1 - i, n_ - 1 - j);
      }
    }
    return true;
  }

 private:
  double entry(int64_t i, int64_t j) const {
    const auto a = static_cast<size_t>(factor_.order[static_cast<size_t>(i)]);
    const auto b = static_cast<size_t>(factor_.order[static_cast<size_t>(j)]);
    if (a == b && factor_.dead[a] != 0) return 1;
    return hessian_[a * static_cast<size_t>(n_) + b];
  }

  std::span<const float> hessian_;
  HessianFactor& factor_;
  const int64_t n_;
};

}  // namespace

Result<HessianFactor> factor_hessian(std::span<const float> hessian, int64_t n_cols,
                                     const HessianOptions& options) {
  MM2_RETURN_IF_ERROR(check(hessian, n_cols));
  if (!(options.damp >= 0) || !(options.damp < 1) || !(options.damp_increment >= 0)) {
    return error(Code::invalid_argument, "damping ", options.damp, " with increment ",
                 options.damp_increment, ", must be from 0 to 1");
  }
  HessianFactor factor;
  factor.n_cols = n_cols;
  std::vector<double> diagonal(static_cast<size_t>(n_cols));
  factor.dead.resize(diagonal.size());
  double sum = 0;
  for (size_t i = 0; i < diagonal.size(); ++i) {
    diagonal[i] = hessian[i * diagonal.size() + i];
    factor.dead[i] = diagonal[i] == 0 ? 1 : 0;
    sum += factor.dead[i] != 0 ? 1 : diagonal[i];
    // GPTQModel gives dead inputs their 1 before it orders columns, llm-compressor after.
    if (factor.dead[i] != 0 && options.rule == GptqRule::gptqmodel) diagonal[i] = 1;
  }
  const int64_t group = options.group == 0 ? n_cols : options.group;
  if (options.order == ColumnOrder::groups && n_cols != 0 && (group < 1 || n_cols % group != 0)) {
    return error(Code::invalid_argument, "groups of ", group, " columns do not divide ", n_cols,
                 " columns");
  }
  factor.order = column_order(diagonal, options.order, static_cast<size_t>(group));
  if (n_cols == 0) return factor;

  const double mean = sum / static_cast<double>(n_cols);
  Factoring factoring(hessian, factor);
  for (double damp = options.damp; damp < 1; damp += options.damp_increment) {
    factor.damp = damp;
    if (factoring.run(damp * mean)) return factor;
    if (options.damp_increment == 0) break;
  }
  return error(Code::numeric, "the Hessian is not positive definite with damping ", factor.damp);
}

}  // namespace mm2
