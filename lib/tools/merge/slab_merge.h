// Merging one tensor whose rows come slab by slab, so that memory does not depend on its size.
//
//   MM2_ASSIGN_OR_RETURN(SlabMerge merge, SlabMerge::make(rule, name, shape));
//   while (merge.wants_scan()) {
//     for (each slab, from the first row on) MM2_RETURN_IF_ERROR(merge.scan(slab));
//     MM2_RETURN_IF_ERROR(merge.end_scan());
//   }
//   for (each slab, in any order, from any thread) MM2_RETURN_IF_ERROR(merge.apply(slab, out));
//
// Scans before the rows can be written, and what is kept between them (n parents, m = n without the
// base):
//
//   passthrough, linear, lerp, nearswap, task_arithmetic    none
//   nuslerp along rows                                       none
//   slerp, nuslerp, multislerp, karcher, model_stock         1; n(n+1)/2 sums
//   nuslerp along columns                                    1; 3 sums per column
//   dare, della with density < 1 and rescale                 1; 2 sums per parent
//   ties, breadcrumbs with density < 1                       2 (BF16 arithmetic: 1); up to 1.3 MB
//                                                            per parent; 1 more where equal
//                                                            magnitudes lie at the cut, with up to
//                                                            16 bytes per row and parent; 1 more
//                                                            with rescale
//   sce                                                      1; with select_topk < 1 up to 5, as
//                                                            ties once
//
// Every sum is taken over each row with a fixed order of lanes and then row after row, every random
// draw depends on seed, tensor, parent and element alone: the result does not depend on how the
// rows are cut into slabs, nor on threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/shape.h"
#include "tools/merge/draw.h"
#include "tools/merge/method.h"

namespace mm2 {

/// The same rows of every parent, as floats. A vector is one row; a tensor of more axes is a matrix
/// of its last extent.
struct MergeSlab {
  int64_t first_row = 0;
  int64_t n_rows = 0;
  std::span<const float* const> parents;  // n x [n_rows, n_cols]
};

/// What the scans found, for reports.
struct MergeFacts {
  bool arc = false;  // slerp and nuslerp over the whole tensor: the angle was used
  double cosine = 0;
  std::vector<double> coefficients;  // of the parents; empty where there are none
  // ties and breadcrumbs, of each parent but the base: differences of magnitudes from `low` to below
  // `high` stay; of those equal to one of the two, some may.
  struct Cut {
    double low = 0, high = 0;  // high 0: no upper end
  };
  std::vector<Cut> cuts;
};

class MergeRun;

class SlabMerge {
 public:
  /// check_merge_rule, and shapes. `draw` replaces the random numbers of dare and della; it must
  /// live as long as this.
  static Result<SlabMerge> make(const MergeRule& rule, std::string_view tensor, const Shape& shape,
                                const Draw* draw = nullptr);
  SlabMerge(SlabMerge&&) noexcept;
  SlabMerge& operator=(SlabMerge&&) noexcept;
  ~SlabMerge();

  int64_t n_rows() const { return n_rows_; }
  int64_t n_cols() const { return n_cols_; }

  bool wants_scan() const;
  /// Slabs from row 0 on without a gap. A NaN or infinity in a parent is Code::numeric with its
  /// place.
  Status scan(const MergeSlab& slab);
  Status end_scan();

  /// out: [slab.n_rows, n_cols], may be the memory of a parent. Also refuses results that are not
  /// finite (Code::numeric); what `out` holds then is not defined.
  Status apply(const MergeSlab& slab, float* out) const;

  MergeFacts facts() const;

 private:
  SlabMerge() = default;
  Status check_slab(const MergeSlab& slab) const;
  Status check_finite(const MergeSlab& slab, int64_t row) const;

  std::string tensor_;
  int64_t n_rows_ = 0, n_cols_ = 0;
  size_t n_parents_ = 0;
  int64_t next_row_ = 0;  // of the scan that is going on
  std::unique_ptr<MergeRun> run_;
};

/// The whole tensor at once: parents[i] is [n_rows, n_cols] of `shape`.
Status merge_tensor(const MergeRule& rule, std::string_view tensor, const Shape& shape,
                    std::span<const float* const> parents, float* out);

}  // namespace mm2
