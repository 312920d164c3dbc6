// Methods whose result is a combination of the parents with coefficients per tensor, row or column.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tools/merge/arc.h"
#include "tools/merge/rows.h"
#include "tools/merge/run.h"

namespace mm2 {
namespace {

// Indices of the parents without the base, in order; those with weights.
std::vector<int> moving_parents(const MergeRule& rule, bool base_apart) {
  std::vector<int> result;
  for (int i = 0; i < static_cast<int>(rule.parents.size()); ++i) {
    if (!(base_apart && i == rule.base)) result.push_back(i);
  }
  return result;
}

void apply_combination(const std::vector<double>& coefficients, const float* const* parents,
                       int64_t n, float* out) {
  if (coefficients.size() == 1 && coefficients[0] == 1) {
    if (parents[0] != out) std::copy_n(parents[0], n, out);
    return;
  }
  combine_rows(parents, coefficients.data(), coefficients.size(), n, out);
}

class FixedRun final : public MergeRun {
 public:
  FixedRun(std::vector<double> coefficients, int64_t n_cols)
      : coefficients_(std::move(coefficients)), n_cols_(n_cols) {}
  void apply_row(const float* const* parents, int64_t, float* out) const override {
    apply_combination(coefficients_, parents, n_cols_, out);
  }
  MergeFacts facts() const override { return {false, 0, coefficients_, {}}; }

 private:
  std::vector<double> coefficients_;
  int64_t n_cols_;
};

// Kept in FP32, each step rounded once (as a fused product and sum), the sum divided at the end, as
// mergekit has it. The FP64 product is exact.
class LinearRun final : public MergeRun {
 public:
  LinearRun(const MergeRule& rule, int64_t n_cols) : n_cols_(n_cols) {
    for (const ParentParameters& parent : rule.parents) {
      weights_.push_back(static_cast<float>(*parent.weight));
      sum_ += weights_.back();
    }
    if (!rule.normalize.value_or(true)) sum_ = 1;
  }
  void apply_row(const float* const* parents, int64_t, float* out) const override {
    for (int64_t i = 0; i < n_cols_; ++i) {
      float sum = 0;
      for (size_t k = 0; k < weights_.size(); ++k)
        sum = static_cast<float>(double{weights_[k]} * parents[k][i] + sum);
      out[i] = sum / sum_;
    }
  }
  MergeFacts facts() const override {
    MergeFacts facts;
    for (const float weight : weights_) facts.coefficients.push_back(double{weight} / sum_);
    return facts;
  }

 private:
  std::vector<float> weights_;
  float sum_ = 0;
  int64_t n_cols_;
};

// One scan for the products of all pairs, of the parents themselves or of their differences from
// the base.
class GramRun final : public MergeRun {
 public:
  GramRun(const MergeRule& rule, const MergePlace& place)
      : rule_(rule),
        n_cols_(place.n_cols),
        from_base_(rule.base >= 0 && rule.method != MergeMethod::slerp),
        moving_(moving_parents(rule, from_base_)),
        gram_(moving_.size()) {
    if (from_base_) differences_.resize(moving_.size() * static_cast<size_t>(n_cols_));
  }

  bool wants_scan() const override { return !done_; }

  void scan_row(const float* const* parents, int64_t) override {
    std::vector<const float*> rows;
    for (size_t k = 0; k < moving_.size(); ++k) rows.push_back(row(parents, k));
    if (rows.size() == 2) {
      double sums[3];
      row_dots(rows[0], rows[1], n_cols_, sums);
      gram_.add(0, 0, sums[0]);
      gram_.add(0, 1, sums[1]);
      gram_.add(1, 1, sums[2]);
      return;
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      for (size_t j = i; j < rows.size(); ++j) gram_.add(i, j, row_dot(rows[i], rows[j], n_cols_));
    }
  }

  void end_scan() override {
    done_ = true;
    const std::vector<double> own = solve();
    coefficients_.assign(rule_.parents.size(), 0.0);
    double sum = 0;
    for (size_t k = 0; k < own.size(); ++k) {
      coefficients_[static_cast<size_t>(moving_[k])] = own[k];
      sum += own[k];
    }
    if (from_base_) coefficients_[static_cast<size_t>(rule_.base)] = 1 - sum;
  }

  void apply_row(const float* const* parents, int64_t, float* out) const override {
    apply_combination(coefficients_, parents, n_cols_, out);
  }

  MergeFacts facts() const override { return {step_.arc, step_.cosine, coefficients_, {}}; }

 private:
  const float* row(const float* const* parents, size_t k) {
    const float* const x = parents[moving_[k]];
    if (!from_base_) return x;
    const float* const base = parents[rule_.base];
    float* const to = differences_.data() + k * static_cast<size_t>(n_cols_);
    for (int64_t i = 0; i < n_cols_; ++i) to[i] = x[i] - base[i];
    return to;
  }

  double weight(size_t k) const {
    return rule_.parents[static_cast<size_t>(moving_[k])].weight.value_or(1);
  }

  std::vector<double> solve() {
    switch (rule_.method) {
      case MergeMethod::slerp: {
        // t counts from the base, which may be the second parent.
        const double t = rule_.base == 1 ? 1 - *rule_.t : *rule_.t;
        step_ = slerp_step(gram_.at(0, 0), gram_.at(0, 1), gram_.at(1, 1), t);
        return {step_.first, step_.second};
      }
      case MergeMethod::nuslerp:
        step_ = nuslerp_step(gram_.at(0, 0), gram_.at(0, 1), gram_.at(1, 1),
                             nuslerp_t(weight(0), weight(1)));
        return {step_.first, step_.second};
      case MergeMethod::multislerp: {
        std::vector<double> weights;
        double sum = 0;
        for (size_t k = 0; k < moving_.size(); ++k) {
          weights.push_back(weight(k));
          sum += weights.back();
        }
        if (rule_.normalize_weights) {
          for (double& one : weights) one /= sum;
        }
        return multislerp_coefficients(gram_, std::move(weights));
      }
      case MergeMethod::karcher:
        return karcher_coefficients(gram_, rule_.max_iterations, rule_.tolerance);
      default:
        return model_stock_coefficients(gram_);
    }
  }

  MergeRule rule_;
  int64_t n_cols_;
  bool from_base_;
  std::vector<int> moving_;
  Gram gram_;
  std::vector<float> differences_;  // of one row, [moving, n_cols]
  bool done_ = false;
  ArcStep step_;
  std::vector<double> coefficients_;
};

// nuslerp with an angle for each row (no scan) or column (sums of each column).
class LinesRun final : public MergeRun {
 public:
  LinesRun(const MergeRule& rule, const MergePlace& place)
      : base_(rule.base), n_cols_(place.n_cols), rows_(rule.along_rows) {
    const std::vector<int> moving = moving_parents(rule, rule.base >= 0);
    first_ = moving[0];
    second_ = moving[1];
    t_ = nuslerp_t(rule.parents[static_cast<size_t>(first_)].weight.value_or(1),
                   rule.parents[static_cast<size_t>(second_)].weight.value_or(1));
    if (!rows_) sums_.resize(static_cast<size_t>(n_cols_) * 3);
  }
  bool wants_scan() const override { return !rows_ && !done_; }
  void scan_row(const float* const* parents, int64_t) override {
    for (int64_t i = 0; i < n_cols_; ++i) {
      const double a = value(parents, first_, i), b = value(parents, second_, i);
      double* const sums = &sums_[static_cast<size_t>(i) * 3];
      sums[0] += a * a;
      sums[1] += a * b;
      sums[2] += b * b;
    }
  }
  void end_scan() override {
    done_ = true;
    for (size_t i = 0; i < static_cast<size_t>(n_cols_); ++i) {
      const ArcStep step = nuslerp_step(sums_[3 * i], sums_[3 * i + 1], sums_[3 * i + 2], t_);
      sums_[3 * i] = step.first;
      sums_[3 * i + 1] = step.second;
    }
  }
  void apply_row(const float* const* parents, int64_t, float* out) const override {
    ArcStep step;
    if (rows_) {
      double aa = 0, ab = 0, bb = 0;
      for (int64_t i = 0; i < n_cols_; ++i) {
        const double a = value(parents, first_, i), b = value(parents, second_, i);
        aa += a * a;
        ab += a * b;
        bb += b * b;
      }
      step = nuslerp_step(aa, ab, bb, t_);
    }
    for (int64_t i = 0; i < n_cols_; ++i) {
      const double ca = rows_ ? step.first : sums_[static_cast<size_t>(i) * 3];
      const double cb = rows_ ? step.second : sums_[static_cast<size_t>(i) * 3 + 1];
      const double around = base_ < 0 ? 0 : double{parents[base_][i]};
      out[i] = static_cast<float>(
          around + (ca * value(parents, first_, i) + cb * value(parents, second_, i)));
    }
  }

 private:
  double value(const float* const* parents, int which, int64_t i) const {
    const float x = parents[which][i];
    return base_ < 0 ? x : x - parents[base_][i];
  }

  int base_, first_ = 0, second_ = 0;
  int64_t n_cols_;
  bool rows_, done_ = false;
  double t_ = 0;
  std::vector<double> sums_;  // [n_cols, 3]: aa, ab, bb; then the two coefficients
};

// Moves by at most t towards the second parent, so that what is near becomes equal.
class NearswapRun final : public MergeRun {
 public:
  NearswapRun(const MergeRule& rule, const MergePlace& place)
      : base_(rule.base), t_(static_cast<float>(*rule.t)), n_cols_(place.n_cols) {}
  void apply_row(const float* const* parents, int64_t, float* out) const override {
    const float* const a = parents[base_];
    const float* const b = parents[1 - base_];
    for (int64_t i = 0; i < n_cols_; ++i) {
      const float distance = std::abs(a[i] - b[i]);
      const float share = distance > t_ ? t_ / distance : 1.0f;
      out[i] = (1 - share) * a[i] + share * b[i];
    }
  }

 private:
  int base_;
  float t_;
  int64_t n_cols_;
};

}  // namespace

std::unique_ptr<MergeRun> make_combination(const MergeRule& rule, const MergePlace& place) {
  switch (rule.method) {
    case MergeMethod::passthrough:
      return std::make_unique<FixedRun>(std::vector<double>{rule.scale}, place.n_cols);
    case MergeMethod::lerp: {
      const double t = rule.base == 1 ? 1 - *rule.t : *rule.t;
      return std::make_unique<FixedRun>(std::vector<double>{1 - t, t}, place.n_cols);
    }
    case MergeMethod::linear:
      return std::make_unique<LinearRun>(rule, place.n_cols);
    default:
      return std::make_unique<GramRun>(rule, place);
  }
}

std::unique_ptr<MergeRun> make_nuslerp_lines(const MergeRule& rule, const MergePlace& place) {
  return std::make_unique<LinesRun>(rule, place);
}

std::unique_ptr<MergeRun> make_nearswap(const MergeRule& rule, const MergePlace& place) {
  return std::make_unique<NearswapRun>(rule, place);
}

}  // namespace mm2
