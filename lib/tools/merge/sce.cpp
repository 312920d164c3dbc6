// SCE: select, calculate, erase.
#include <numeric>

#include "tools/merge/consensus.h"
#include "tools/merge/magnitude_cut.h"
#include "tools/merge/rounding.h"
#include "tools/merge/rows.h"
#include "tools/merge/run.h"

namespace mm2 {
namespace {

// Below this sum of mean squares mergekit weighs all parents alike.
constexpr double kMinMeanSquare = 1e-6;

// Selects the elements in which the differences differ most among each other, weigh each parent
// by the mean square of what is left, erase what goes against the sum.
class SceRun final : public MergeRun {
 public:
  SceRun(const MergeRule& rule, const MergePlace& place)
      : base_(rule.base),
        n_(static_cast<int>(rule.parents.size())),
        n_rows_(place.n_rows),
        n_cols_(place.n_cols),
        arithmetic_(rule.arithmetic),
        topk_(rule.select_topk) {
    consensus_.arithmetic = arithmetic_;
    consensus_.elects = true;
    consensus_.elects_weighted = false;
    consensus_.normalize = true;
    squares_.assign(static_cast<size_t>(n_) - 1, 0.0);
    phase_ = topk_ < 1 ? Phase::count : Phase::squares;
  }

  bool wants_scan() const override { return phase_ != Phase::ready; }

  void scan_row(const float* const* parents, int64_t row) override {
    Scratch scratch = differences(parents);
    if (phase_ == Phase::count) {
      for (const float value : scratch.spread) n_varied_ += value != 0 ? 1 : 0;
    } else if (phase_ == Phase::cut) {
      cut_[0].scan_row(scratch.spread.data(), row);
    } else {
      select(scratch, row);
      for (size_t k = 0; k < squares_.size(); ++k)
        squares_[k] += row_dot(scratch.rows[k], scratch.rows[k], n_cols_);
    }
  }

  void end_scan() override {
    if (phase_ == Phase::count) {
      const uint64_t n = static_cast<uint64_t>(n_rows_) * static_cast<uint64_t>(n_cols_);
      const uint64_t k = static_cast<uint64_t>(topk_ * static_cast<double>(n_varied_));
      cut_.emplace_back(n_rows_, n_cols_, n - k, n, arithmetic_ == MergeArithmetic::bf16);
      phase_ = cut_[0].wants_scan() ? Phase::cut : Phase::squares;
    } else if (phase_ == Phase::cut) {
      cut_[0].end_scan();
      if (!cut_[0].wants_scan()) phase_ = Phase::squares;
    } else {
      set_weights();
      phase_ = Phase::ready;
    }
  }

  void apply_row(const float* const* parents, int64_t row, float* out) const override {
    Scratch scratch = differences(parents);
    select(scratch, row);
    consensus_.add(parents[base_], scratch.rows.data(), n_cols_, out);
  }

 private:
  enum class Phase : uint8_t { count, cut, squares, ready };
  struct Scratch {
    std::vector<float> values;
    std::vector<float*> rows;   // of the differences
    std::vector<float> spread;  // variance among them
  };

  Scratch differences(const float* const* parents) const {
    const size_t n = static_cast<size_t>(n_cols_);
    Scratch scratch;
    scratch.values.resize(squares_.size() * n);
    scratch.spread.resize(n);
    for (int k = 0; k < n_; ++k) {
      if (k == base_) continue;
      float* const to = scratch.values.data() + scratch.rows.size() * n;
      for (size_t i = 0; i < n; ++i)
        to[i] = rounded(parents[k][i] - parents[base_][i], arithmetic_);
      scratch.rows.push_back(to);
    }
    const double count = static_cast<double>(scratch.rows.size());
    for (size_t i = 0; i < n; ++i) {
      double mean = 0, sum = 0;
      for (const float* row : scratch.rows) mean += row[i];
      mean /= count;
      for (const float* row : scratch.rows) sum += (row[i] - mean) * (row[i] - mean);
      scratch.spread[i] = rounded(static_cast<float>(sum / count), arithmetic_);
    }
    return scratch;
  }

  void select(Scratch& scratch, int64_t row) const {
    if (cut_.empty()) return;
    std::vector<uint8_t> keep(static_cast<size_t>(n_cols_));
    cut_[0].keep_row(scratch.spread.data(), row, keep.data());
    for (float* values : scratch.rows) {
      for (size_t i = 0; i < keep.size(); ++i) values[i] = keep[i] != 0 ? values[i] : 0.0f;
    }
  }

  void set_weights() {
    const double sum = std::accumulate(squares_.begin(), squares_.end(), 0.0);
    const double n = static_cast<double>(n_rows_) * static_cast<double>(n_cols_);
    const bool apart = sum / n >= kMinMeanSquare;
    for (const double square : squares_) {
      const double share = apart ? square / sum : 1.0 / static_cast<double>(squares_.size());
      consensus_.weights.push_back(rounded(static_cast<float>(share), arithmetic_));
    }
  }

  int base_, n_;
  int64_t n_rows_, n_cols_;
  MergeArithmetic arithmetic_;
  double topk_;
  Phase phase_;
  uint64_t n_varied_ = 0;
  std::vector<MagnitudeCut> cut_;  // one or none
  std::vector<double> squares_;    // sums, of what was selected
  Consensus consensus_;
};

}  // namespace

std::unique_ptr<MergeRun> make_sce(const MergeRule& rule, const MergePlace& place) {
  return std::make_unique<SceRun>(rule, place);
}

}  // namespace mm2
