#include "tools/merge/slab_merge.h"

#include <cmath>

#include "tools/merge/rows.h"
#include "tools/merge/run.h"

namespace mm2 {
namespace {

// The caller's numbers without owning them.
std::shared_ptr<const Draw> drawn_by(const MergeRule& rule, std::string_view tensor,
                                     const Draw* given) {
  if (given != nullptr) return {std::shared_ptr<const Draw>(), given};
  return std::make_shared<CounterDraw>(rule.seed, tensor);
}

std::unique_ptr<MergeRun> make_run(const MergeRule& rule, std::string_view tensor,
                                   const MergePlace& place, const Draw* draw) {
  switch (rule.method) {
    case MergeMethod::passthrough:
    case MergeMethod::linear:
    case MergeMethod::lerp:
    case MergeMethod::slerp:
    case MergeMethod::multislerp:
    case MergeMethod::karcher:
    case MergeMethod::model_stock:
      return make_combination(rule, place);
    case MergeMethod::nuslerp:
      if (rule.flatten || place.is_vector) return make_combination(rule, place);
      return make_nuslerp_lines(rule, place);
    case MergeMethod::nearswap:
      return make_nearswap(rule, place);
    case MergeMethod::sce:
      return make_sce(rule, place);
    default:
      return make_task_merge(rule, place, drawn_by(rule, tensor, draw));
  }
}

}  // namespace

SlabMerge::SlabMerge(SlabMerge&&) noexcept = default;
SlabMerge& SlabMerge::operator=(SlabMerge&&) noexcept = default;
SlabMerge::~SlabMerge() = default;

Result<SlabMerge> SlabMerge::make(const MergeRule& rule, std::string_view tensor,
                                  const Shape& shape, const Draw* draw) {
  MM2_RETURN_IF_ERROR(check_merge_rule(rule, tensor));
  if (shape.n_elements() == 0)
    return error(Code::invalid_argument, "merging ", tensor, ": shape ", shape.to_string(),
                 " has no elements");
  SlabMerge merge;
  merge.tensor_ = std::string(tensor);
  merge.n_rows_ = shape.n_rows();
  merge.n_cols_ = shape.n_cols();
  merge.n_parents_ = rule.parents.size();
  merge.run_ = make_run(rule, tensor, {merge.n_rows_, merge.n_cols_, shape.rank() <= 1}, draw);
  return merge;
}

bool SlabMerge::wants_scan() const {
  return run_->wants_scan();
}

Status SlabMerge::check_slab(const MergeSlab& slab) const {
  if (slab.parents.size() != n_parents_)
    return error(Code::invalid_argument, "merging ", tensor_, ": ", slab.parents.size(),
                 " parents in a slab, ", n_parents_, " in the rule");
  if (slab.first_row < 0 || slab.n_rows < 0 || slab.n_rows > n_rows_ - slab.first_row)
    return error(Code::invalid_argument, "merging ", tensor_, ": rows ", slab.first_row,
                 " and the ", slab.n_rows, " from there on are not all in 0..", n_rows_ - 1);
  return {};
}

// Row `row` of the slab, of every parent.
Status SlabMerge::check_finite(const MergeSlab& slab, int64_t row) const {
  for (size_t k = 0; k < n_parents_; ++k) {
    const float* const values = slab.parents[k] + row * n_cols_;
    const int64_t at = first_not_finite(values, n_cols_);
    if (at < 0) continue;
    return error(Code::numeric, "merging ", tensor_, ": parent ", k, " has ",
                 std::isnan(values[at]) ? "NaN" : "infinity", " at row ", slab.first_row + row,
                 ", column ", at);
  }
  return {};
}

Status SlabMerge::scan(const MergeSlab& slab) {
  MM2_RETURN_IF_ERROR(check_slab(slab));
  if (!run_->wants_scan())
    return error(Code::invalid_argument, "merging ", tensor_, ": no scan is wanted");
  if (slab.first_row != next_row_)
    return error(Code::invalid_argument, "merging ", tensor_, ": scan at row ", slab.first_row,
                 ", row ", next_row_, " is next");
  std::vector<const float*> rows(n_parents_);
  for (int64_t r = 0; r < slab.n_rows; ++r) {
    MM2_RETURN_IF_ERROR(check_finite(slab, r));
    for (size_t k = 0; k < n_parents_; ++k) rows[k] = slab.parents[k] + r * n_cols_;
    run_->scan_row(rows.data(), slab.first_row + r);
    next_row_ = slab.first_row + r + 1;
  }
  return {};
}

Status SlabMerge::end_scan() {
  if (next_row_ != n_rows_)
    return error(Code::invalid_argument, "merging ", tensor_, ": scan ended after ", next_row_,
                 " of ", n_rows_, " rows");
  next_row_ = 0;
  run_->end_scan();
  return {};
}

Status SlabMerge::apply(const MergeSlab& slab, float* out) const {
  MM2_RETURN_IF_ERROR(check_slab(slab));
  if (run_->wants_scan())
    return error(Code::invalid_argument, "merging ", tensor_, ": a scan is missing");
  std::vector<const float*> rows(n_parents_);
  for (int64_t r = 0; r < slab.n_rows; ++r) {
    MM2_RETURN_IF_ERROR(check_finite(slab, r));
    for (size_t k = 0; k < n_parents_; ++k) rows[k] = slab.parents[k] + r * n_cols_;
    float* const to = out + r * n_cols_;
    run_->apply_row(rows.data(), slab.first_row + r, to);
    if (const int64_t at = first_not_finite(to, n_cols_); at >= 0)
      return error(Code::numeric, "merging ", tensor_, ": the result at row ", slab.first_row + r,
                   ", column ", at, " is beyond FP32");
  }
  return {};
}

MergeFacts SlabMerge::facts() const {
  return run_->facts();
}

Status merge_tensor(const MergeRule& rule, std::string_view tensor, const Shape& shape,
                    std::span<const float* const> parents, float* out) {
  MM2_ASSIGN_OR_RETURN(SlabMerge merge, SlabMerge::make(rule, tensor, shape));
  const MergeSlab all{0, merge.n_rows(), parents};
  while (merge.wants_scan()) {
    MM2_RETURN_IF_ERROR(merge.scan(all));
    MM2_RETURN_IF_ERROR(merge.end_scan());
  }
  return merge.apply(all, out);
}

}  // namespace mm2
