#include "chat/jinja/bigint.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "absl/strings/charconv.h"

namespace mm2::chat::jinja {
namespace {

using Limbs = std::vector<uint32_t>;

void trim(BigInt& v) {
  while (!v.limbs.empty() && v.limbs.back() == 0) v.limbs.pop_back();
  if (v.limbs.empty()) v.negative = false;
}

int compare_magnitude(const Limbs& a, const Limbs& b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  for (size_t i = a.size(); i-- > 0;) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

Limbs add_magnitude(const Limbs& a, const Limbs& b) {
  Limbs out;
  uint64_t carry = 0;
  for (size_t i = 0; i < std::max(a.size(), b.size()) || carry != 0; ++i) {
    carry += (i < a.size() ? a[i] : 0);
    carry += (i < b.size() ? b[i] : 0);
    out.push_back(static_cast<uint32_t>(carry));
    carry >>= 32;
  }
  return out;
}

// a - b, a >= b.
Limbs subtract_magnitude(const Limbs& a, const Limbs& b) {
  Limbs out;
  int64_t borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    int64_t d = static_cast<int64_t>(a[i]) - borrow - (i < b.size() ? b[i] : 0);
    borrow = d < 0;
    if (d < 0) d += int64_t{1} << 32;
    out.push_back(static_cast<uint32_t>(d));
  }
  return out;
}

uint32_t divide_small(Limbs& limbs, uint32_t by) {
  uint64_t rest = 0;
  for (size_t i = limbs.size(); i-- > 0;) {
    rest = rest << 32 | limbs[i];
    limbs[i] = static_cast<uint32_t>(rest / by);
    rest %= by;
  }
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
  return static_cast<uint32_t>(rest);
}

void multiply_add(Limbs& limbs, uint32_t by, uint32_t plus) {
  uint64_t carry = plus;
  for (uint32_t& limb : limbs) {
    carry += static_cast<uint64_t>(limb) * by;
    limb = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  if (carry != 0) limbs.push_back(static_cast<uint32_t>(carry));
}

}  // namespace

BigInt BigInt::of(int64_t value) {
  BigInt v;
  v.negative = value < 0;
  uint64_t m = value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  for (; m != 0; m >>= 32) v.limbs.push_back(static_cast<uint32_t>(m));
  return v;
}

BigInt BigInt::parse(std::string_view digits, uint32_t base) {
  BigInt v;
  const bool minus = !digits.empty() && digits[0] == '-';
  if (minus) digits.remove_prefix(1);
  for (const char c : digits) {
    const int d = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    multiply_add(v.limbs, base, static_cast<uint32_t>(d));
  }
  v.negative = minus;
  trim(v);
  return v;
}

BigInt BigInt::truncate(double value) {
  BigInt v;
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(value), &exponent);
  if (exponent <= 0) return v;
  auto mantissa = static_cast<uint64_t>(std::ldexp(fraction, 53));
  int shift = exponent - 53;
  if (shift < 0) {
    mantissa >>= -shift;
    shift = 0;
  }
  v.limbs.assign(static_cast<size_t>(shift / 32), 0);
  const int part = shift % 32;
  const auto low = static_cast<uint32_t>(mantissa);
  const auto high = static_cast<uint32_t>(mantissa >> 32);
  uint64_t carry = static_cast<uint64_t>(low) << part;
  v.limbs.push_back(static_cast<uint32_t>(carry));
  carry = (carry >> 32) | (static_cast<uint64_t>(high) << part);
  v.limbs.push_back(static_cast<uint32_t>(carry));
  v.limbs.push_back(static_cast<uint32_t>(carry >> 32));
  v.negative = value < 0;
  trim(v);
  return v;
}

std::optional<int64_t> BigInt::to_int64() const {
  if (limbs.size() > 2) return std::nullopt;
  uint64_t m = 0;
  for (size_t i = limbs.size(); i-- > 0;) m = m << 32 | limbs[i];
  const uint64_t most = uint64_t{1} << 63;
  if (m > most || (m == most && !negative)) return std::nullopt;
  return static_cast<int64_t>(negative ? ~m + 1 : m);
}

double BigInt::to_double() const {
  const std::string digits = str();
  double value = 0;
  const auto read = absl::from_chars(digits.data(), digits.data() + digits.size(), value);
  return read.ec == std::errc::result_out_of_range ? std::copysign(HUGE_VAL, value) : value;
}

std::string BigInt::str() const {
  if (zero()) return "0";
  std::string out;
  Limbs rest = limbs;
  while (!rest.empty()) {
    uint32_t part = divide_small(rest, 1000000000);
    for (int i = 0; i < 9 && (part != 0 || !rest.empty()); ++i) {
      out += static_cast<char>('0' + part % 10);
      part /= 10;
    }
  }
  if (negative) out += '-';
  std::reverse(out.begin(), out.end());
  return out;
}

size_t BigInt::bits() const {
  return limbs.size() * 32;
}

int compare(const BigInt& a, const BigInt& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const int c = compare_magnitude(a.limbs, b.limbs);
  return a.negative ? -c : c;
}

BigInt add(const BigInt& a, const BigInt& b) {
  BigInt out;
  if (a.negative == b.negative) {
    out.limbs = add_magnitude(a.limbs, b.limbs);
    out.negative = a.negative;
  } else if (compare_magnitude(a.limbs, b.limbs) >= 0) {
    out.limbs = subtract_magnitude(a.limbs, b.limbs);
    out.negative = a.negative;
  } else {
    out.limbs = subtract_magnitude(b.limbs, a.limbs);
    out.negative = b.negative;
  }
  trim(out);
  return out;
}

BigInt subtract(const BigInt& a, const BigInt& b) {
  BigInt minus = b;
  if (!minus.zero()) minus.negative = !minus.negative;
  return add(a, minus);
}

BigInt multiply(const BigInt& a, const BigInt& b) {
  BigInt out;
  out.limbs.assign(a.limbs.size() + b.limbs.size(), 0);
  for (size_t i = 0; i < a.limbs.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < b.limbs.size() || carry != 0; ++j) {
      carry += out.limbs[i + j];
      if (j < b.limbs.size()) carry += static_cast<uint64_t>(a.limbs[i]) * b.limbs[j];
      out.limbs[i + j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }
  out.negative = a.negative != b.negative;
  trim(out);
  return out;
}

void divide(const BigInt& a, const BigInt& b, BigInt& quotient, BigInt& remainder) {
  // Bit by bit: the sizes are bounded to a few hundred limbs and this is rare.
  BigInt q;
  BigInt r;
  q.limbs.assign(a.limbs.size(), 0);
  for (size_t bit = a.limbs.size() * 32; bit-- > 0;) {
    multiply_add(r.limbs, 2, a.limbs[bit / 32] >> (bit % 32) & 1);
    if (r.limbs.empty() && (a.limbs[bit / 32] >> (bit % 32) & 1) != 0) r.limbs.push_back(1);
    if (compare_magnitude(r.limbs, b.limbs) >= 0) {
      r.limbs = subtract_magnitude(r.limbs, b.limbs);
      while (!r.limbs.empty() && r.limbs.back() == 0) r.limbs.pop_back();
      q.limbs[bit / 32] |= uint32_t{1} << (bit % 32);
    }
  }
  q.negative = a.negative != b.negative;
  r.negative = a.negative;
  trim(q);
  trim(r);
  if (!r.zero() && a.negative != b.negative) {
    q = subtract(q, BigInt::of(1));
    r = add(r, b);
  }
  quotient = std::move(q);
  remainder = std::move(r);
}

}  // namespace mm2::chat::jinja
