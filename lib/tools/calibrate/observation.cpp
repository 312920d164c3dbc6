#include "tools/calibrate/observation.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Core>

namespace mm2 {
namespace {

constexpr int64_t kColumns = 64;  // of one task

}  // namespace

InputSums::InputSums(int64_t width, const CollectOptions& options)
    : width_(width), wants_amax_(options.amax) {
  if (options.imatrix) squares_.resize(static_cast<size_t>(width));
  sizes_.resize(squares_.size());
  if (options.hessian) hessian_.resize(static_cast<size_t>(width * width));
}

void InputSums::add(std::span<const float> rows, std::span<const uint8_t> marks,
                    Executor& executor) {
  const int64_t n = width_ == 0 ? 0 : static_cast<int64_t>(rows.size()) / width_;
  const auto counts = [&](int64_t row) { return marks.empty() || marks[static_cast<size_t>(row)]; };
  for (int64_t row = 0; row < n; ++row) n_rows_ += counts(row) ? 1 : 0;
  if (!squares_.empty()) {
    executor.run(static_cast<int32_t>((width_ + kColumns - 1) / kColumns),
                 [&](int32_t task, int32_t) {
                   const int64_t first = task * kColumns, last = std::min(width_, first + kColumns);
                   for (int64_t row = 0; row < n; ++row) {
                     if (!counts(row)) continue;
                     const float* x = rows.data() + row * width_;
                     for (int64_t c = first; c < last; ++c) {
                       squares_[static_cast<size_t>(c)] += static_cast<double>(x[c]) * x[c];
                       sizes_[static_cast<size_t>(c)] += std::fabs(x[c]);
                     }
                   }
                 });
  }
  if (wants_amax_) {
    for (int64_t row = 0; row < n; ++row) {
      if (!counts(row)) continue;
      for (int64_t c = 0; c < width_; ++c) {
        amax_ = std::max(amax_, std::fabs(rows[static_cast<size_t>(row * width_ + c)]));
      }
    }
  }
  if (hessian_.empty()) return;
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<RowMajor> sum(hessian_.data(), width_, width_);
  RowMajor counted(n, width_);
  int64_t n_counted = 0;
  for (int64_t row = 0; row < n; ++row) {
    if (!counts(row)) continue;
    counted.row(n_counted++) =
        Eigen::Map<const Eigen::RowVectorXf>(rows.data() + row * width_, width_);
  }
  // Columns of the result are independent of each other: any number of threads gives the same bits.
  executor.run(
      static_cast<int32_t>((width_ + kColumns - 1) / kColumns), [&](int32_t task, int32_t) {
        const int64_t first = task * kColumns, columns = std::min(kColumns, width_ - first);
        sum.middleCols(first, columns).noalias() +=
            counted.topRows(n_counted).transpose() *
            counted.topRows(n_counted).middleCols(first, columns);
      });
}

LayerObservation::LayerObservation(int32_t n_experts, int64_t hidden, int64_t q_width,
                                   int64_t intermediate, int32_t n_kv_heads,
                                   const CollectOptions& options)
    : experts(n_experts),
      attention_in(hidden, options),
      o_in(q_width, options),
      k_amax(static_cast<size_t>(n_kv_heads)),
      v_amax(static_cast<size_t>(n_kv_heads)) {
  for (int32_t e = 0; e < n_experts; ++e) {
    w1_in.emplace_back(hidden, options);
    w2_in.emplace_back(intermediate, options);
  }
}

uint64_t observation_bytes(int32_t n_experts, int64_t hidden, int64_t q_width, int64_t intermediate,
                           const CollectOptions& options) {
  const auto one = [&](int64_t width) {
    const auto w = static_cast<uint64_t>(width);
    return (options.imatrix ? 16 * w : 0) + (options.hessian ? 4 * w * w : 0);
  };
  return one(hidden) + one(q_width) +
         static_cast<uint64_t>(n_experts) * (one(hidden) + one(intermediate));
}

}  // namespace mm2
