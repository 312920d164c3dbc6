// A sum of doubles without rounding until it is asked for.
#pragma once

#include <span>
#include <vector>

namespace mm2 {

/// Holds the exact sum as a few doubles that do not overlap (Shewchuk), so the result is the
/// correctly rounded sum whatever the order of the additions and however they were merged.
/// What is added must be finite and below 1e290 in magnitude.
class ExactSum {
 public:
  void add(double value);
  void merge(const ExactSum& other);
  double value() const;

  /// The doubles whose exact sum this is: what to store, to be added one by one when read.
  std::span<const double> parts() const { return parts_; }

 private:
  std::vector<double> parts_;  // ascending in magnitude, none of them 0
};

}  // namespace mm2
