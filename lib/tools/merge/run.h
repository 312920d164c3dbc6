// What each family of methods gives SlabMerge. Rows are checked to be finite before they come here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tools/merge/slab_merge.h"

namespace mm2 {

class MergeRun {
 public:
  virtual ~MergeRun() = default;
  virtual bool wants_scan() const { return false; }
  /// Row `row` of every parent, in order.
  virtual void scan_row(const float* const* /*parents*/, int64_t /*row*/) {}
  virtual void end_scan() {}
  /// out: [n_cols], may be one of the parents' rows.
  virtual void apply_row(const float* const* parents, int64_t row, float* out) const = 0;
  virtual MergeFacts facts() const { return {}; }
};

struct MergePlace {
  int64_t n_rows, n_cols;
  bool is_vector;
};

/// passthrough, linear, lerp, slerp, nuslerp (flat), multislerp, karcher, model_stock.
std::unique_ptr<MergeRun> make_combination(const MergeRule& rule, const MergePlace& place);
/// nuslerp of rows or columns.
std::unique_ptr<MergeRun> make_nuslerp_lines(const MergeRule& rule, const MergePlace& place);
std::unique_ptr<MergeRun> make_nearswap(const MergeRule& rule, const MergePlace& place);
/// task_arithmetic, ties, dare, della, breadcrumbs.
std::unique_ptr<MergeRun> make_task_merge(const MergeRule& rule, const MergePlace& place,
                                          std::shared_ptr<const Draw> draw);
std::unique_ptr<MergeRun> make_sce(const MergeRule& rule, const MergePlace& place);

}  // namespace mm2
