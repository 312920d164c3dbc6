// How much of the second parent each tensor gets, from how far the two are apart: the SLURPY
// schedule
//
//   t = low + span * clip(delta / p99(delta), 0, 1),   delta = 1 - cosine, low 0.50, span 0.35
//
// and others that divide by something else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2 {

/// numpy's default ("linear") percentile: position q/100 * (n - 1) in ascending order, interpolated
/// from the nearer end. Refused: no values, NaN (with its place), q outside 0..100.
Result<double> percentile(std::span<const double> values, double q);

/// What delta is divided by.
enum class Normalizer : uint8_t {
  percentile,  // of all deltas: SLURPY, with 99
  maximum,     // the largest delta
  // (delta - median) / (1.4826 * median of |delta - median|), over `mad_full`: the bulk stays at
  // `low`, only what stands out of it moves
  mad,
  noise_floor,  // percentile, of deltas from which the floor of FP8 is taken
  per_class,    // percentile of the deltas of the tensor's own class
};
std::string_view normalizer_name(Normalizer normalizer);

struct ScheduleRow {
  std::string name;
  std::string group;  // class of tensors: "experts.w1", "norm", ...
  double delta = 0;
  double noise = 0;  // relative error of quantisation of either side; 0 for plain weights
};

struct ScheduleOptions {
  Normalizer normalizer = Normalizer::percentile;
  double q = 99;
  double low = 0.50, span = 0.35;
  double mad_full = 6;
};

struct Divisor {
  std::string group;  // empty: of all
  double center = 0;  // mad: the median, else 0
  double value = 0;
  size_t n = 0;
};

struct Schedule {
  std::vector<double> t;  // as the rows
  std::vector<Divisor> divisors;
};

/// Code::numeric names the first tensor whose delta is NaN, infinite or negative;
/// Code::invalid_argument: no rows, low and low + span outside 0..1, a divisor of 0 (then most
/// tensors are equal in both, and the schedule says nothing; another normaliser may).
Result<Schedule> make_schedule(std::span<const ScheduleRow> rows, const ScheduleOptions& options);

struct Histogram {
  double low = 0, high = 1;
  std::vector<uint64_t> counts;
};

/// numpy's bins: equal widths, the last includes its end; values outside are not counted.
Histogram make_histogram(std::span<const double> values, double low, double high, size_t n_bins);

/// A bar chart as a whole SVG file. `title` and `axis` are plain text.
std::string histogram_svg(const Histogram& histogram, std::string_view title,
                          std::string_view axis);

}  // namespace mm2
