// How far numbers are from what they were made of. Statistics are gathered block by block and may be
// merged; the result is the same to the last bit however blocks were spread over accumulators.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/exact_sum.h"
#include "tools/quantize/pack.h"

namespace mm2 {

/// What codes of a matrix tell about its scales.
struct CodeCounts {
  uint64_t n = 0;
  uint64_t n_saturated = 0;  // the largest size there is; of integers the lowest and highest code
  uint64_t n_zero = 0;       // stand for 0
  uint64_t n_subnormal = 0;  // of E4M3 and E2M1

  void add(const CodeCounts& other);
};

CodeCounts count_codes(const PackSpec& spec, const CodedRows& rows);

struct ErrorReport {
  uint64_t n_values = 0, n_blocks = 0;
  uint64_t n_zero_blocks = 0;      // of the original
  uint64_t n_unusable_blocks = 0;  // with NaN or infinity on either side: in no figure below
  double cosine = 1;
  double one_minus_cosine = 0;       // without cancellation
  double relative_l2 = 0;            // |other - original| / |original|; absolute where that is 0
  std::optional<double> norm_ratio;  // |other| / |original|, where there is an original
  double largest_error = 0;
  std::optional<double> sqnr_db;  // none where nothing differs, or nothing is there
  double block_p50 = 0, block_p90 = 0, block_p99 = 0;  // relative_l2 of blocks, within 0.8 %
  double block_largest = 0;
  bool identical = true;
};

class ErrorStats {
 public:
  /// A block: rows of n_cols values, `stride` values from one to the next.
  void add_block(const float* original, const float* other, int64_t n_rows, int64_t n_cols,
                 int64_t stride);
  /// Blocks of block_rows x block_cols (those at the edges partial) of a matrix without gaps.
  void add_matrix(const float* original, const float* other, int64_t n_rows, int64_t n_cols,
                  int64_t block_rows, int64_t block_cols);
  void add(const ErrorStats& other);
  ErrorReport report() const;

 private:
  // Bins of 2^(1/64) from 2^-24 to 2^8; the first for 0 and below, the last for all above.
  static constexpr int kBins = 2 + 32 * 64;
  static int bin_of(float relative);
  double percentile(double share) const;

  uint64_t n_values_ = 0, n_blocks_ = 0, n_zero_blocks_ = 0, n_unusable_ = 0;
  ExactSum square_, error_square_, error_dot_;  // a a, (b - a)^2, a (b - a)
  float largest_error_ = 0, block_largest_ = 0;
  std::array<uint64_t, kBins> histogram_{};
};

}  // namespace mm2
