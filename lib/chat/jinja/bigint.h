// Integers of any size, as Python has them: sign and magnitude.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mm2::chat::jinja {

struct BigInt {
  bool negative = false;
  std::vector<uint32_t> limbs;  // least first, no leading zero; empty: 0

  static BigInt of(int64_t value);
  static BigInt parse(std::string_view digits, uint32_t base = 10);  // digits only, maybe '-'
  /// The integer part of a finite double.
  static BigInt truncate(double value);
  bool zero() const { return limbs.empty(); }
  std::optional<int64_t> to_int64() const;
  double to_double() const;  // correctly rounded; inf when too large
  std::string str() const;
  size_t bits() const;
};

int compare(const BigInt& a, const BigInt& b);
BigInt add(const BigInt& a, const BigInt& b);
BigInt subtract(const BigInt& a, const BigInt& b);
BigInt multiply(const BigInt& a, const BigInt& b);
/// Python's // and %: the remainder has the divisor's sign. b is not zero.
void divide(const BigInt& a, const BigInt& b, BigInt& quotient, BigInt& remainder);

}  // namespace mm2::chat::jinja
