#include "tools/merge/schedule.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "tools/merge/pair_scan.h"

namespace mm2 {
namespace {

constexpr double kMadToSigma = 1.4826;  // of a normal distribution

double sorted_percentile(const std::vector<double>& sorted, double q) {
  const double position = q / 100 * static_cast<double>(sorted.size() - 1);
  const size_t i = static_cast<size_t>(std::floor(position));
  if (i + 1 >= sorted.size()) return sorted.back();
  const double f = position - static_cast<double>(i);
  const double step = sorted[i + 1] - sorted[i];
  return f < 0.5 ? sorted[i] + step * f : sorted[i + 1] - step * (1 - f);
}

std::vector<double> sorted_copy(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

Divisor divisor_of(std::span<const double> deltas, const ScheduleOptions& options) {
  Divisor divisor;
  divisor.n = deltas.size();
  std::vector<double> sorted = sorted_copy(deltas);
  if (options.normalizer == Normalizer::maximum) {
    divisor.value = sorted.back();
  } else if (options.normalizer == Normalizer::mad) {
    divisor.center = sorted_percentile(sorted, 50);
    for (double& delta : sorted) delta = std::abs(delta - divisor.center);
    std::sort(sorted.begin(), sorted.end());
    divisor.value = options.mad_full * kMadToSigma * sorted_percentile(sorted, 50);
  } else {
    divisor.value = sorted_percentile(sorted, options.q);
  }
  return divisor;
}

Status check(std::span<const ScheduleRow> rows, const ScheduleOptions& options) {
  const auto inside = [](double x) { return x >= 0 && x <= 1; };
  if (rows.empty()) return error(Code::invalid_argument, "schedule: there are no tensors");
  if (!inside(options.low) || !inside(options.low + options.span))
    return error(Code::invalid_argument, "schedule: t from ", options.low, " to ",
                 options.low + options.span, ", both must be in 0..1");
  if (!(options.q >= 0 && options.q <= 100))
    return error(Code::invalid_argument, "schedule: percentile ", options.q, " is not in 0..100");
  if (!(options.mad_full > 0 && std::isfinite(options.mad_full)))
    return error(Code::invalid_argument, "schedule: mad_full ", options.mad_full,
                 " must be a positive number");
  for (const ScheduleRow& row : rows) {
    if (!(std::isfinite(row.delta) && row.delta >= 0))
      return error(Code::numeric, "schedule: delta of ", row.name, " is ", row.delta,
                   ", wanted is a number of at least 0");
  }
  return {};
}

}  // namespace

Result<double> percentile(std::span<const double> values, double q) {
  if (values.empty()) return error(Code::invalid_argument, "percentile of no values");
  if (!(q >= 0 && q <= 100))
    return error(Code::invalid_argument, "percentile ", q, " is not in 0..100");
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) return error(Code::numeric, "percentile: value ", i, " is NaN");
  }
  return sorted_percentile(sorted_copy(values), q);
}

std::string_view normalizer_name(Normalizer normalizer) {
  switch (normalizer) {
    case Normalizer::percentile:
      return "percentile";
    case Normalizer::maximum:
      return "max";
    case Normalizer::mad:
      return "mad";
    case Normalizer::noise_floor:
      return "noise-floor";
    case Normalizer::per_class:
      return "per-class";
  }
  return "";
}

Result<Schedule> make_schedule(std::span<const ScheduleRow> rows, const ScheduleOptions& options) {
  MM2_RETURN_IF_ERROR(check(rows, options));
  std::vector<double> deltas;
  std::map<std::string, std::vector<double>> groups;  // one of all, or one for each class
  const bool by_class = options.normalizer == Normalizer::per_class;
  for (const ScheduleRow& row : rows) {
    const bool floor = options.normalizer == Normalizer::noise_floor;
    deltas.push_back(floor ? without_noise(row.delta, row.noise, row.noise) : row.delta);
    groups[by_class ? row.group : ""].push_back(deltas.back());
  }
  Schedule schedule;
  std::map<std::string_view, size_t> place;
  for (const auto& [name, values] : groups) {
    Divisor divisor = divisor_of(values, options);
    divisor.group = name;
    if (!(divisor.value > 0)) {
      return error(Code::invalid_argument, "schedule: the ", normalizer_name(options.normalizer),
                   " of the deltas", by_class ? join(" of class ", name) : std::string(), " is ",
                   divisor.value, " (", divisor.n,
                   " tensors): too many tensors are equal in both parents to divide by it");
    }
    place[name] = schedule.divisors.size();
    schedule.divisors.push_back(std::move(divisor));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const Divisor& divisor = schedule.divisors[place.at(by_class ? rows[i].group : "")];
    const double share = std::clamp((deltas[i] - divisor.center) / divisor.value, 0.0, 1.0);
    schedule.t.push_back(options.low + options.span * share);
  }
  return schedule;
}

Histogram make_histogram(std::span<const double> values, double low, double high, size_t n_bins) {
  Histogram histogram{low, high, std::vector<uint64_t>(n_bins)};
  if (n_bins == 0 || !(high > low)) return histogram;
  const double step = (high - low) / static_cast<double>(n_bins);
  const auto edge = [&](size_t i) {
    return i == n_bins ? high : static_cast<double>(i) * step + low;
  };
  for (const double value : values) {
    if (!(value >= low && value <= high)) continue;
    size_t bin = std::min(n_bins - 1, static_cast<size_t>((value - low) / step));
    while (bin > 0 && value < edge(bin)) --bin;
    while (bin + 1 < n_bins && value >= edge(bin + 1)) ++bin;
    ++histogram.counts[bin];
  }
  return histogram;
}

}  // namespace mm2
