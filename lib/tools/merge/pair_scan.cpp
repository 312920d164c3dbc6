#include "tools/merge/pair_scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/vector_code.h"

#include "tools/merge/rows.h"

namespace mm2 {
namespace {

double folded(const double* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

typedef int32_t FourInts __attribute__((vector_size(16)));

// Four of the eight lanes of a block.
struct FourSums {
  FourDoubles aa, ab, bb, dd, abs_diff;
  FourFloats max_diff;
  FourInts equal;

  inline __attribute__((always_inline)) void take(const PairBlockSums& from, int first) {
    std::memcpy(&aa, from.aa + first, sizeof aa);
    std::memcpy(&ab, from.ab + first, sizeof ab);
    std::memcpy(&bb, from.bb + first, sizeof bb);
    std::memcpy(&dd, from.dd + first, sizeof dd);
    std::memcpy(&abs_diff, from.abs_diff + first, sizeof abs_diff);
    std::memcpy(&max_diff, from.max_diff + first, sizeof max_diff);
    std::memcpy(&equal, from.equal + first, sizeof equal);
  }
  inline __attribute__((always_inline)) void give(PairBlockSums& to, int first) const {
    std::memcpy(to.aa + first, &aa, sizeof aa);
    std::memcpy(to.ab + first, &ab, sizeof ab);
    std::memcpy(to.bb + first, &bb, sizeof bb);
    std::memcpy(to.dd + first, &dd, sizeof dd);
    std::memcpy(to.abs_diff + first, &abs_diff, sizeof abs_diff);
    std::memcpy(to.max_diff + first, &max_diff, sizeof max_diff);
    std::memcpy(to.equal + first, &equal, sizeof equal);
  }
  inline __attribute__((always_inline)) void add(const float* a, const float* b) {
    FourFloats x, y;
    FourDoubles p, q;
    load_four(a, x);
    load_four(b, y);
    load_four(a, p);
    load_four(b, q);
    const FourDoubles d = p - q;
    const FourFloats narrow = __builtin_convertvector(d, FourFloats);
    const FourFloats difference =
        reinterpret_cast<FourFloats>(reinterpret_cast<FourInts>(narrow) & INT32_MAX);
    aa += p * p;
    ab += p * q;
    bb += q * q;
    dd += d * d;
    abs_diff += __builtin_convertvector(difference, FourDoubles);
    max_diff = max_diff > difference ? max_diff : difference;
    equal -= x == y;  // a comparison that holds is -1
  }
};

// One row of one block.
inline __attribute__((always_inline)) void segment_loop(const float* a, const float* b, int64_t n,
                                                        PairBlockSums& to) {
  constexpr int kLanes = PairBlockSums::kLanes;
  FourSums low, high;
  low.take(to, 0);
  high.take(to, 4);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    low.add(a + i, b + i);
    high.add(a + i + 4, b + i + 4);
  }
  low.give(to, 0);
  high.give(to, 4);
  for (int k = 0; i < n; ++i, ++k) {
    const double p = a[i], q = b[i], d = p - q;
    const float difference = std::abs(static_cast<float>(d));
    to.aa[k] += p * p;
    to.ab[k] += p * q;
    to.bb[k] += q * q;
    to.dd[k] += d * d;
    to.abs_diff[k] += double{difference};
    to.max_diff[k] = to.max_diff[k] > difference ? to.max_diff[k] : difference;
    to.equal[k] += a[i] == b[i] ? 1u : 0u;
  }
}

void derive(PairFigures& f) {
  const double na = std::sqrt(f.aa), nb = std::sqrt(f.bb), nd = std::sqrt(f.dd);
  const double infinity = std::numeric_limits<double>::infinity();
  f.rel_l2 = na > 0 ? nd / na : nd > 0 ? infinity : 0;
  f.norm_ratio = na > 0 ? nb / na : nb > 0 ? infinity : 1;
  if (na > 0 && nb > 0) {
    f.cosine = std::clamp(f.ab / na / nb, -1.0, 1.0);
    // |a - b|^2 = (|a| - |b|)^2 + 2 |a| |b| (1 - cos); exact where the two hardly differ.
    const double longer = (f.aa - f.bb) / (na + nb);
    f.one_minus_cosine = std::clamp((f.dd - longer * longer) / (2 * na * nb), 0.0, 2.0);
  } else if (na > 0 || nb > 0) {
    f.cosine = 0;
    f.one_minus_cosine = 1;
  }
  f.rel_l2_if_only_turned = std::sqrt(2 * f.one_minus_cosine);
  f.angle = 2 * std::asin(std::min(1.0, f.rel_l2_if_only_turned / 2));
}

}  // namespace

std::string_view pair_change_name(PairChange change) {
  switch (change) {
    case PairChange::identical:
      return "identical";
    case PairChange::scales_only:
      return "scales-only";
    case PairChange::values:
      return "values";
  }
  return "";
}

PairScan::PairScan(std::string_view tensor, const Shape& shape)
    : tensor_(tensor),
      n_rows_(shape.n_rows()),
      n_cols_(shape.n_cols()),
      blocks_(static_cast<size_t>((shape.n_cols() + kBlock - 1) / kBlock)) {
  figures_.n_elements = static_cast<uint64_t>(shape.n_elements());
}

void PairScan::close_blocks() {
  for (PairBlockSums& block : blocks_) {
    const double aa = folded(block.aa), dd = folded(block.dd), bb = folded(block.bb);
    figures_.aa += aa;
    figures_.ab += folded(block.ab);
    figures_.bb += bb;
    figures_.dd += dd;
    figures_.sum_abs_diff += folded(block.abs_diff);
    for (int k = 0; k < PairBlockSums::kLanes; ++k) {
      figures_.max_abs_diff = std::max(figures_.max_abs_diff, double{block.max_diff[k]});
      figures_.n_equal += block.equal[k];
    }
    figures_.n_zero_blocks_a += aa == 0 ? 1 : 0;
    figures_.n_zero_blocks_b += bb == 0 ? 1 : 0;
    const double rel = dd == 0 ? 0 : aa > 0 ? std::sqrt(dd / aa) : HUGE_VAL;
    figures_.block_rel_l2.add(rel);
    figures_.max_block_rel_l2 = std::max(figures_.max_block_rel_l2, rel);
    block = PairBlockSums{};
  }
}

Status PairScan::find_not_finite(int64_t first_row, int64_t n_rows, const float* a,
                                 const float* b) const {
  for (int64_t r = 0; r < n_rows; ++r) {
    for (const bool second : {false, true}) {
      const float* const row = (second ? b : a) + r * n_cols_;
      const int64_t at = first_not_finite(row, n_cols_);
      if (at < 0) continue;
      return error(Code::numeric, "comparing ", tensor_, ": ", second ? "B" : "A", " has ",
                   std::isnan(row[at]) ? "NaN" : "infinity", " at row ", first_row + r, ", column ",
                   at);
    }
  }
  return error(Code::internal, "comparing ", tensor_, ": sums are not finite");
}

Status PairScan::add(int64_t first_row, int64_t n_rows, const float* a, const float* b) {
  if (first_row != next_row_ || n_rows < 0 || n_rows > n_rows_ - first_row)
    return error(Code::invalid_argument, "comparing ", tensor_, ": ", n_rows, " rows from ",
                 first_row, " on, wanted are rows from ", next_row_, " on of ", n_rows_);
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* const row_a = a + r * n_cols_;
    const float* const row_b = b + r * n_cols_;
    for (size_t block = 0; block < blocks_.size(); ++block) {
      const int64_t from = static_cast<int64_t>(block) * kBlock;
      VectorCode<segment_loop>::run(row_a + from, row_b + from, std::min(kBlock, n_cols_ - from),
                                    blocks_[block]);
    }
    ++next_row_;
    if (next_row_ % kBlock == 0 || next_row_ == n_rows_) close_blocks();
  }
  // Squares of finite numbers stay finite in FP64, so a sum that is not tells of one that is not.
  double all = figures_.aa + figures_.bb;
  for (const PairBlockSums& block : blocks_) all += folded(block.aa) + folded(block.bb);
  if (!std::isfinite(all)) return find_not_finite(first_row, n_rows, a, b);
  return {};
}

Result<PairFigures> PairScan::finish() {
  if (next_row_ != n_rows_)
    return error(Code::invalid_argument, "comparing ", tensor_, ": ended after ", next_row_, " of ",
                 n_rows_, " rows");
  derive(figures_);
  return figures_;
}

double without_noise(double one_minus_cosine, double noise_a, double noise_b) {
  const double kept = std::sqrt((1 - noise_a * noise_a) * (1 - noise_b * noise_b));
  return std::max(0.0, 1 - (1 - one_minus_cosine) / kept);
}

double slerp_gain(double cosine, double t) {
  const double square = (1 - t) * (1 - t) + t * t + 2 * t * (1 - t) * cosine;
  return square > 0 ? 1 / std::sqrt(square) - 1 : 0;
}

}  // namespace mm2
