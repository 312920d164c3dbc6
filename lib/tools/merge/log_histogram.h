// Counts of positive numbers by size, in bins that everybody has, so that counts can be added up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mm2 {

/// 16 bins to each power of two from 2^-40 to 2^8, one below (zero too) and one above: a quantile
/// is right to 1/16 of itself. Bins are found from the bits of the number, not by a logarithm.
class LogHistogram {
 public:
  static constexpr int kLowest = -40, kHighest = 8, kPerOctave = 16;
  static constexpr size_t kBins = static_cast<size_t>(kHighest - kLowest) * kPerOctave + 2;

  /// Not negative; NaN counts as above.
  void add(double value, uint64_t times = 1) { counts_[bin_of(value)] += times; }
  void add(const LogHistogram& other);
  uint64_t total() const;
  const std::array<uint64_t, kBins>& counts() const { return counts_; }

  /// The upper end of the bin with rank ceil(share * total); 0 for the lowest bin or when nothing
  /// was counted; 2^8 for the highest.
  double quantile(double share) const;

  static size_t bin_of(double value);
  /// Where the bin ends.
  static double upper_end(size_t bin);

 private:
  std::array<uint64_t, kBins> counts_{};
};

}  // namespace mm2
