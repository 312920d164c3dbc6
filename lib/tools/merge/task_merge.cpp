// Methods that thin out the differences from a base, then add them up.
#include <algorithm>
#include <cmath>

#include "tools/merge/consensus.h"
#include "tools/merge/magnitude_cut.h"
#include "tools/merge/rounding.h"
#include "tools/merge/rows.h"
#include "tools/merge/run.h"

namespace mm2 {
namespace {

// mergekit leaves the scale alone where one of the two sums is below this.
constexpr float kMinMagnitude = 1e-7f;

enum class Thinning : uint8_t { none, cut, draw, ranked_draw };

Thinning thinning_of(MergeMethod method) {
  switch (method) {
    case MergeMethod::ties:
    case MergeMethod::breadcrumbs:
    case MergeMethod::breadcrumbs_ties:
      return Thinning::cut;
    case MergeMethod::dare_linear:
    case MergeMethod::dare_ties:
      return Thinning::draw;
    case MergeMethod::della:
    case MergeMethod::della_linear:
      return Thinning::ranked_draw;
    default:
      return Thinning::none;
  }
}

struct Ranks {
  uint64_t low, high;
};

// Ranks of magnitude that stay.
Ranks kept_ranks(MergeMethod method, const ParentParameters& parent, uint64_t n) {
  const uint64_t wanted = static_cast<uint64_t>(parent.density * static_cast<double>(n));
  if (method == MergeMethod::ties) return {n - std::clamp<uint64_t>(wanted, 1, n), n};
  // breadcrumbs: what is too much goes at the bottom; where that is not enough, at the top less.
  const uint64_t top = static_cast<uint64_t>(parent.gamma * static_cast<double>(n));
  if (wanted + top >= n) return {0, wanted};
  return {n - wanted - top, n - top};
}

class TaskRun final : public MergeRun {
 public:
  TaskRun(const MergeRule& rule, const MergePlace& place, std::shared_ptr<const Draw> draw)
      : base_(rule.base),
        n_cols_(place.n_cols),
        arithmetic_(rule.arithmetic),
        thinning_(thinning_of(rule.method)),
        draw_(std::move(draw)) {
    const MethodFacts facts = method_facts(rule.method);
    rescale_ = rule.rescale.value_or(facts.rescale);
    consensus_.arithmetic = arithmetic_;
    consensus_.elects = rule.method == MergeMethod::ties || rule.method == MergeMethod::dare_ties ||
                        rule.method == MergeMethod::della ||
                        rule.method == MergeMethod::breadcrumbs_ties;
    consensus_.normalize = rule.normalize.value_or(facts.normalize);
    consensus_.lambda = static_cast<float>(rule.lambda);
    consensus_.min_divisor = consensus_.elects ? 0 : 1e-8f;
    const bool coarse = arithmetic_ == MergeArithmetic::bf16;
    for (int k = 0; k < static_cast<int>(rule.parents.size()); ++k) {
      if (k == base_) continue;
      const ParentParameters& parent = rule.parents[static_cast<size_t>(k)];
      consensus_.weights.push_back(rounded(static_cast<float>(*parent.weight), arithmetic_));
      Part part;
      part.parent = k;
      part.density = parent.density;
      part.epsilon = parent.epsilon;
      part.thinned = thinning_ != Thinning::none && parent.density < 1;
      if (part.thinned && thinning_ == Thinning::cut) {
        const uint64_t n =
            static_cast<uint64_t>(place.n_rows) * static_cast<uint64_t>(place.n_cols);
        const Ranks ranks = kept_ranks(rule.method, parent, n);
        part.cut.emplace_back(place.n_rows, place.n_cols, ranks.low, ranks.high, coarse);
      }
      parts_.push_back(std::move(part));
    }
    row_.resize(static_cast<size_t>(n_cols_));
    keep_.resize(static_cast<size_t>(n_cols_));
    advance();
  }

  bool wants_scan() const override { return phase_ != Phase::ready; }

  void scan_row(const float* const* parents, int64_t row) override {
    for (Part& part : parts_) {
      if (!part.thinned) continue;
      difference(parents, part, row_.data());
      if (phase_ == Phase::cut) {
        if (!part.cut.empty() && part.cut[0].wants_scan()) part.cut[0].scan_row(row_.data(), row);
        continue;
      }
      part.before += row_magnitude(row_.data(), n_cols_);
      thin(part, row, row_.data(), keep_.data());
      part.after += row_magnitude(row_.data(), n_cols_);
    }
  }

  void end_scan() override {
    if (phase_ == Phase::cut) {
      for (Part& part : parts_) {
        if (!part.cut.empty() && part.cut[0].wants_scan()) part.cut[0].end_scan();
      }
    } else {
      for (Part& part : parts_) set_scale(part);
      rescale_ = false;  // done
    }
    advance();
  }

  void apply_row(const float* const* parents, int64_t row, float* out) const override {
    std::vector<float> values(parts_.size() * static_cast<size_t>(n_cols_));
    std::vector<uint8_t> keep(static_cast<size_t>(n_cols_));
    std::vector<float*> differences;
    for (const Part& part : parts_) {
      float* const to = values.data() + differences.size() * static_cast<size_t>(n_cols_);
      difference(parents, part, to);
      if (part.thinned) thin(part, row, to, keep.data());
      if (part.scaled) {
        for (int64_t i = 0; i < n_cols_; ++i) to[i] = rounded(to[i] * part.scale, arithmetic_);
      }
      differences.push_back(to);
    }
    consensus_.add(parents[base_], differences.data(), n_cols_, out);
  }

  MergeFacts facts() const override {
    MergeFacts facts;
    if (thinning_ != Thinning::cut) return facts;
    for (const Part& part : parts_) {
      facts.cuts.push_back({});
      if (!part.cut.empty())
        facts.cuts.back() = {part.cut[0].low_magnitude(), part.cut[0].high_magnitude()};
    }
    return facts;
  }

 private:
  enum class Phase : uint8_t { cut, sums, ready };
  struct Part {
    int parent = 0;
    double density = 1, epsilon = 0;
    bool thinned = false;
    std::vector<MagnitudeCut> cut;  // one or none
    double before = 0, after = 0;   // sums of magnitudes
    bool scaled = false;
    float scale = 1;
  };

  void advance() {
    phase_ = Phase::ready;
    for (const Part& part : parts_) {
      if (part.thinned && rescale_) phase_ = Phase::sums;
    }
    for (const Part& part : parts_) {
      if (!part.cut.empty() && part.cut[0].wants_scan()) phase_ = Phase::cut;
    }
  }

  void set_scale(Part& part) const {
    if (!part.thinned) return;
    const float before = rounded(static_cast<float>(part.before), arithmetic_);
    const float after = rounded(static_cast<float>(part.after), arithmetic_);
    if (before < kMinMagnitude || after < kMinMagnitude) return;
    part.scaled = true;
    part.scale = rounded(before / after, arithmetic_);
  }

  void difference(const float* const* parents, const Part& part, float* to) const {
    const float* const x = parents[part.parent];
    const float* const base = parents[base_];
    for (int64_t i = 0; i < n_cols_; ++i) to[i] = rounded(x[i] - base[i], arithmetic_);
  }

  // Sets what goes to 0. keep: scratch, [n_cols].
  void thin(const Part& part, int64_t row, float* values, uint8_t* keep) const {
    if (thinning_ == Thinning::cut) {
      part.cut[0].keep_row(values, row, keep);
    } else {
      drawn(part, row, values, keep);
    }
    for (int64_t i = 0; i < n_cols_; ++i) values[i] = keep[i] != 0 ? values[i] : 0.0f;
  }

  void drawn(const Part& part, int64_t row, const float* values, uint8_t* keep) const {
    const size_t n = static_cast<size_t>(n_cols_);
    std::vector<double> numbers(n);
    draw_->fill(part.parent, row * n_cols_, numbers);
    if (thinning_ == Thinning::draw) {
      for (size_t i = 0; i < n; ++i) keep[i] = numbers[i] < part.density ? 1 : 0;
      return;
    }
    const std::vector<double> chance = della_probabilities(values, n, part.density, part.epsilon);
    for (size_t i = 0; i < n; ++i) keep[i] = numbers[i] < chance[i] ? 1 : 0;
  }

  int base_;
  int64_t n_cols_;
  MergeArithmetic arithmetic_;
  Thinning thinning_;
  std::shared_ptr<const Draw> draw_;
  bool rescale_ = false;
  Phase phase_ = Phase::ready;
  std::vector<Part> parts_;
  Consensus consensus_;
  std::vector<float> row_;  // of the scan that is going on
  std::vector<uint8_t> keep_;
};

}  // namespace

std::unique_ptr<MergeRun> make_task_merge(const MergeRule& rule, const MergePlace& place,
                                          std::shared_ptr<const Draw> draw) {
  return std::make_unique<TaskRun>(rule, place, std::move(draw));
}

}  // namespace mm2
