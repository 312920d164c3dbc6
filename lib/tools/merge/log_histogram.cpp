#include "tools/merge/log_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace mm2 {
namespace {

constexpr int kFractionBits = 4;  // 16 bins
constexpr int kShift = 52 - kFractionBits;

uint64_t step_of(double value) {
  return std::bit_cast<uint64_t>(value) >> kShift;
}

}  // namespace

size_t LogHistogram::bin_of(double value) {
  const double lowest = std::ldexp(1.0, kLowest);
  if (value < lowest) return 0;
  if (!(value < std::ldexp(1.0, kHighest))) return kBins - 1;
  return static_cast<size_t>(step_of(value) - step_of(lowest)) + 1;
}

double LogHistogram::upper_end(size_t bin) {
  if (bin == 0) return 0;
  const uint64_t step = step_of(std::ldexp(1.0, kLowest)) + std::min(bin, kBins - 2);
  return std::bit_cast<double>(step << kShift);
}

void LogHistogram::add(const LogHistogram& other) {
  for (size_t i = 0; i < kBins; ++i) counts_[i] += other.counts_[i];
}

uint64_t LogHistogram::total() const {
  uint64_t sum = 0;
  for (const uint64_t count : counts_) sum += count;
  return sum;
}

double LogHistogram::quantile(double share) const {
  const double rank = std::ceil(share * static_cast<double>(total()));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBins; ++i) {
    seen += counts_[i];
    if (seen > 0 && static_cast<double>(seen) >= rank) return upper_end(i);
  }
  return 0;
}

}  // namespace mm2
