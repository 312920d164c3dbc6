#include "base/exact_sum.h"

#include <cmath>
#include <utility>

namespace mm2 {

void ExactSum::add(double value) {
  size_t kept = 0;
  for (double part : parts_) {
    if (std::fabs(value) < std::fabs(part)) std::swap(value, part);
    const double sum = value + part;
    const double rest = part - (sum - value);
    if (rest != 0) parts_[kept++] = rest;
    value = sum;
  }
  parts_.resize(kept);
  if (value != 0) parts_.push_back(value);
}

void ExactSum::merge(const ExactSum& other) {
  const std::vector<double> parts = other.parts_;  // `other` may be this
  for (const double part : parts) add(part);
}

double ExactSum::value() const {
  if (parts_.empty()) return 0;
  size_t i = parts_.size() - 1;
  double sum = parts_[i], rest = 0;
  while (i > 0) {
    const double larger = sum, part = parts_[--i];
    sum = larger + part;
    rest = part - (sum - larger);
    if (rest != 0) break;
  }
  // Half-way cases: the parts below decide on which side the true sum lies.
  if (i > 0 && ((rest < 0 && parts_[i - 1] < 0) || (rest > 0 && parts_[i - 1] > 0))) {
    const double twice = rest * 2;
    const double nudged = sum + twice;
    if (nudged - sum == twice) sum = nudged;
  }
  return sum;
}

}  // namespace mm2
