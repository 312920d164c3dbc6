// A sum without rounding: the same whatever the order of what is added.
#pragma once

#include <array>
#include <cstdint>

namespace mm2 {

class ExactSum {
 public:
  /// Finite numbers only.
  void add(double x);
  void add(const ExactSum& other);
  /// Within one unit in the last place.
  double value() const;

 private:
  // Digits of 32 bits from 2^-1074 on; between carries they may be larger or negative.
  static constexpr int kDigits = 68;
  static constexpr int64_t kMostAdded = int64_t{1} << 29;
  void carry();

  std::array<int64_t, kDigits> digits_{};
  int64_t n_added_ = 0;  // since the last carry
};

}  // namespace mm2
