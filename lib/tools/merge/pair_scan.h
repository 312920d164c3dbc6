// How far apart two versions of one tensor are: everything a report says, from one pass over both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/shape.h"
#include "tools/merge/log_histogram.h"

namespace mm2 {

/// What changed, as far as bytes tell.
enum class PairChange : uint8_t { identical, scales_only, values };
std::string_view pair_change_name(PairChange change);

struct PairFigures {
  uint64_t n_elements = 0;
  uint64_t n_equal = 0;  // equal numbers; -0 equals 0
  double aa = 0, ab = 0, bb = 0;
  double dd = 0;  // sum of (a - b)^2
  double sum_abs_diff = 0, max_abs_diff = 0;
  uint64_t n_zero_blocks_a = 0, n_zero_blocks_b = 0;
  double max_block_rel_l2 = 0;
  LogHistogram block_rel_l2;  // of blocks of 128 x 128

  // From the sums. A zero vector has cosine 1 to another zero vector and 0 to anything else.
  double cosine = 1;
  double one_minus_cosine = 0;  // without the cancellation of 1 - cosine
  double angle = 0;
  double rel_l2 = 0;                 // |a - b| / |a|; infinite where a is zero and b is not
  double norm_ratio = 1;             // |b| / |a|; likewise
  double rel_l2_if_only_turned = 0;  // sqrt(2 (1 - cosine)): more than this is a change of length
};

/// Sums over one block, in lanes.
struct PairBlockSums {
  static constexpr int kLanes = 8;
  double aa[kLanes] = {}, ab[kLanes] = {}, bb[kLanes] = {}, dd[kLanes] = {};
  double abs_diff[kLanes] = {};
  float max_diff[kLanes] = {};
  uint32_t equal[kLanes] = {};
};

/// One pass over both tensors. Products are added up in FP64 in eight lanes for each block of 128
/// columns and 128 rows, then block after block: the figures do not depend on how the rows are cut
/// into slabs. Keeps 400 bytes for each block of 128 columns.
class PairScan {
 public:
  PairScan(std::string_view tensor, const Shape& shape);

  /// Rows from `first_row` on of both, [n_rows, n_cols] each; slabs in order without a gap.
  /// Code::numeric for a NaN or infinity, with its place.
  Status add(int64_t first_row, int64_t n_rows, const float* a, const float* b);
  /// After the last row.
  Result<PairFigures> finish();

 private:
  static constexpr int64_t kBlock = 128;
  void close_blocks();
  Status find_not_finite(int64_t first_row, int64_t n_rows, const float* a, const float* b) const;

  std::string tensor_;
  int64_t n_rows_, n_cols_;
  int64_t next_row_ = 0;
  std::vector<PairBlockSums> blocks_;  // of the row of blocks that is being added up
  PairFigures figures_;
};

/// relative L2 error of plain weights after FP8 quantisation in blocks of 128 x 128, measured on
/// Gaussian weights.
constexpr double kFp8BlockNoise = 0.0265;

/// What 1 - cosine was before both sides were quantised with these relative errors, at least 0: two
/// quantised copies of the same weights differ by the floor alone.
double without_noise(double one_minus_cosine, double noise_a, double noise_b);

/// How much longer slerp's result is than lerp's for two vectors of equal length: 0.00135 at
/// cosine 0.9946 and t = 0.5.
double slerp_gain(double cosine, double t);

}  // namespace mm2
