#include "tools/quantize/awq.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

namespace mm2 {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Weights times the scales, rounded to codes and back, divided by the scales.
Status rounded(const WeightRows& rows, std::span<const double> scales, const IntOptions& options,
               Matrix& to) {
  const int64_t n = rows.n_rows * rows.n_cols, group = options.group_of(rows.n_cols);
  std::vector<float> scaled(static_cast<size_t>(n)), steps(static_cast<size_t>(n / group));
  std::vector<uint8_t> codes(static_cast<size_t>(n)), zeros(steps.size());
  scale_columns(rows, scales, scaled.data());
  MM2_RETURN_IF_ERROR(quantize_integers({scaled.data(), rows.n_rows, rows.n_cols, rows.first_row},
                                        options, codes.data(), steps.data(), zeros.data()));
  to.resize(rows.n_rows, rows.n_cols);
  for (int64_t i = 0; i < n; ++i) {
    const auto g = static_cast<size_t>(i / group);
    const int code = codes[static_cast<size_t>(i)] - zeros[g];
    const float number = static_cast<float>(code) * steps[g];
    to.data()[i] = static_cast<float>(number / scales[static_cast<size_t>(i % rows.n_cols)]);
  }
  return {};
}

class Search {
 public:
  Search(std::span<const WeightRows> weights, std::span<const float> inputs,
         const AwqOptions& options)
      : weights_(weights), options_(options), n_cols_(weights[0].n_cols) {
    const auto n_tokens = static_cast<int64_t>(inputs.size()) / n_cols_;
    inputs_ = Eigen::Map<const Floats>(inputs.data(), n_tokens, n_cols_).cast<double>();
    const Eigen::RowVectorXd mean = inputs_.cwiseAbs().colwise().mean();
    input_mean_.assign(mean.data(), mean.data() + mean.size());
    weight_mean_.resize(static_cast<size_t>(n_cols_));
    count_weights();
    want_ = outputs([&](size_t m, Matrix& w) {
              w = Eigen::Map<const Floats>(weights_[m].weights, weights_[m].n_rows, n_cols_)
                      .cast<double>();
              return Status();
            }).second;
  }

  Result<AwqChoice> run() {
    AwqChoice best;
    for (const AwqCandidate& candidate : awq_candidates(options_.duo, options_.n_grid)) {
      const std::vector<double> scales = awq_scales(candidate, input_mean_, weight_mean_);
      MM2_ASSIGN_OR_RETURN(const double loss, loss_of(scales));
      best.losses.push_back(loss);
      if (!std::isfinite(loss) || (!best.scales.empty() && !(loss < best.loss))) continue;
      best.loss = loss;
      best.ratio = candidate.ratio;
      best.duo = candidate.duo;
      best.scales = scales;
    }
    if (best.scales.empty()) {
      return error(Code::numeric, "AWQ: no candidate has a finite loss");
    }
    return best;
  }

 private:
  // Mean over all rows of the size of a weight as part of the largest of its group.
  void count_weights() {
    int64_t n_rows = 0;
    for (const WeightRows& rows : weights_) {
      n_rows += rows.n_rows;
      add_weight_sizes(rows, options_.codes.group_of(n_cols_), weight_mean_);
    }
    for (double& mean : weight_mean_) mean /= static_cast<double>(n_rows);
  }

  // Outputs of the parent with the weights that `take` gives for each matrix.
  template <typename F>
  std::pair<Status, Matrix> outputs(F&& take) const {
    std::vector<Matrix> parts(weights_.size());
    Matrix w;
    int64_t n_out = 0;
    for (size_t m = 0; m < weights_.size(); ++m) {
      if (Status status = take(m, w); !status.ok()) return {status, {}};
      parts[m] = inputs_ * w.transpose();
      n_out += parts[m].cols();
    }
    if (options_.parent == AwqParent::gated) {
      const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
      return {{}, parts[0].unaryExpr(silu).cwiseProduct(parts[1])};
    }
    Matrix all(inputs_.rows(), n_out);
    for (int64_t at = 0; const Matrix& part : parts) {
      all.middleCols(at, part.cols()) = part;
      at += part.cols();
    }
    return {{}, all};
  }

  Result<double> loss_of(const std::vector<double>& scales) const {
    const auto [status, got] = outputs(
        [&](size_t m, Matrix& w) { return rounded(weights_[m], scales, options_.codes, w); });
    if (!status.ok()) return status;
    return (got - want_).squaredNorm() / static_cast<double>(std::max<int64_t>(1, got.size()));
  }

  const std::span<const WeightRows> weights_;
  const AwqOptions& options_;
  const int64_t n_cols_;
  Matrix inputs_, want_;
  std::vector<double> input_mean_, weight_mean_;
};

Status check(std::span<const WeightRows> weights, std::span<const float> inputs,
             const AwqOptions& options) {
  if (weights.empty() || weights[0].n_cols < 1 || inputs.empty() || options.n_grid < 1) {
    return error(Code::invalid_argument, "AWQ needs weights, inputs and a candidate");
  }
  const int64_t n_cols = weights[0].n_cols;
  const int64_t group = options.codes.group_of(n_cols);
  if (group < 1 || n_cols % group != 0) {
    return error(Code::invalid_argument, "groups of ", group, " columns do not divide ", n_cols,
                 " columns");
  }
  for (const WeightRows& rows : weights) {
    if (rows.n_cols != n_cols || rows.n_rows < 1) {
      return error(Code::invalid_argument, "matrices of ", rows.n_rows, " x ", rows.n_cols,
                   " and with ", n_cols, " columns do not share inputs");
    }
    for (int64_t r = 0; r < rows.n_rows; ++r) {
      if (!coding::extremes(rows.row(r), n_cols).finite) return coding::not_finite(rows);
    }
  }
  const auto n_inputs = static_cast<int64_t>(inputs.size());
  if (n_inputs % n_cols != 0) {
    return error(Code::invalid_argument, "inputs of ", n_inputs, " numbers for ", n_cols,
                 " columns");
  }
  if (options.parent == AwqParent::gated &&
      (weights.size() != 2 || weights[0].n_rows != weights[1].n_rows)) {
    return error(Code::invalid_argument, "a gate takes two matrices of the same shape");
  }
  if (coding::extremes(inputs.data(), n_inputs).finite) return {};
  return error(Code::numeric, "AWQ: inputs that are not finite");
}

}  // namespace

std::vector<AwqCandidate> awq_candidates(bool duo, int n_grid) {
  std::vector<AwqCandidate> all;
  for (int i = 0; i < n_grid; ++i) {
    const double ratio = duo ? (i == 0 ? 0.0 : double(i - 1) / std::max(1, n_grid - 2))
                             : double(i) / std::max(1, n_grid - 1);
    all.push_back({ratio, duo && i > 0});
  }
  return all;
}

void add_weight_sizes(const WeightRows& rows, int64_t group, std::span<double> sums) {
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    for (int64_t c = 0; c < rows.n_cols; c += group) {
      const float size = coding::extremes(rows.row(r) + c, group).size() + 1e-6f;
      for (int64_t k = c; k < c + group; ++k) {
        sums[static_cast<size_t>(k)] += std::fabs(rows.row(r)[k]) / size;
      }
    }
  }
}

std::vector<double> awq_scales(const AwqCandidate& candidate, std::span<const double> input_mean,
                               std::span<const double> weight_mean) {
  std::vector<double> scales(input_mean.size());
  double low = INFINITY, high = 0;
  for (size_t c = 0; c < scales.size(); ++c) {
    double s = std::pow(input_mean[c], candidate.ratio);
    if (candidate.duo) s /= std::pow(weight_mean[c], 1 - candidate.ratio) + 1e-4;
    scales[c] = std::max(s, 1e-4);
    low = std::min(low, scales[c]);
    high = std::max(high, scales[c]);
  }
  for (double& s : scales) s /= std::sqrt(high * low);
  return scales;
}

Result<double> awq_moment_loss(const WeightRows& rows, std::span<const double> scales,
                               const IntOptions& codes, std::span<const float> moments) {
  const auto n = static_cast<size_t>(rows.n_cols);
  if (scales.size() != n || (moments.size() != n && moments.size() != n * n)) {
    return error(Code::invalid_argument, "AWQ: ", moments.size(), " moments and ", scales.size(),
                 " scales for ", n, " columns");
  }
  Matrix changed;
  MM2_RETURN_IF_ERROR(rounded(rows, scales, codes, changed));
  changed -= Eigen::Map<const Floats>(rows.weights, rows.n_rows, rows.n_cols).cast<double>();
  if (n > 1 && moments.size() == n * n) {
    const Matrix whole =
        Eigen::Map<const Floats>(moments.data(), rows.n_cols, rows.n_cols).cast<double>();
    return (changed * whole).cwiseProduct(changed).sum();
  }
  double loss = 0;
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    for (size_t c = 0; c < n; ++c) {
      const double e = changed(r, static_cast<int64_t>(c));
      loss += static_cast<double>(moments[c]) * e * e;
    }
  }
  return loss;
}

Result<AwqChoice> awq_search(std::span<const WeightRows> weights, std::span<const float> inputs,
                             const AwqOptions& options) {
  MM2_RETURN_IF_ERROR(check(weights, inputs, options));
  return Search(weights, inputs, options).run();
}

void scale_columns(const WeightRows& rows, std::span<const double> scales, float* to) {
  for (int64_t i = 0; i < rows.n_rows * rows.n_cols; ++i) {
    to[i] = static_cast<float>(rows.weights[i] * scales[static_cast<size_t>(i % rows.n_cols)]);
  }
}

}  // namespace mm2
