#include "tools/quantize/exact_sum.h"

#include <bit>
#include <cmath>

namespace mm2 {
namespace {

constexpr int kLowest = 1074;  // the last bit of the smallest number is 2^-1074
constexpr uint64_t kMask = 0xffffffffu;

}  // namespace

void ExactSum::add(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  const auto field = static_cast<int>(bits >> 52 & 0x7ffu);
  uint64_t m = bits & ((uint64_t{1} << 52) - 1);
  if (field != 0) m |= uint64_t{1} << 52;
  const int lowest = field == 0 ? 0 : field - 1;  // place of the last bit above 2^-1074
  const auto at = static_cast<size_t>(lowest / 32);
  const int shift = lowest % 32;
  const int64_t sign = (bits >> 63) != 0 ? -1 : 1;
  digits_[at] += sign * static_cast<int64_t>(m << shift & kMask);
  digits_[at + 1] += sign * static_cast<int64_t>(m >> (32 - shift) & kMask);
  digits_[at + 2] += sign * static_cast<int64_t>(shift == 0 ? 0 : m >> (64 - shift));
  if (++n_added_ >= kMostAdded) carry();
}

void ExactSum::add(const ExactSum& other) {
  ExactSum settled = other;
  settled.carry();
  carry();
  for (size_t i = 0; i < digits_.size(); ++i) digits_[i] += settled.digits_[i];
  n_added_ = 1;
}

// All digits from 0 to 2^32 - 1 but the last one, which has the sign.
void ExactSum::carry() {
  for (size_t i = 0; i + 1 < digits_.size(); ++i) {
    const auto low = static_cast<int64_t>(static_cast<uint64_t>(digits_[i]) & kMask);
    digits_[i + 1] += (digits_[i] - low) / (int64_t{1} << 32);
    digits_[i] = low;
  }
  n_added_ = 0;
}

double ExactSum::value() const {
  ExactSum sum = *this;
  sum.carry();
  const bool negative = sum.digits_.back() < 0;
  if (negative) {
    for (int64_t& digit : sum.digits_) digit = -digit;
    sum.carry();
  }
  double value = 0;
  for (size_t i = sum.digits_.size(); i-- > 0;) {
    value += std::ldexp(static_cast<double>(sum.digits_[i]), static_cast<int>(32 * i) - kLowest);
  }
  return negative ? -value : value;
}

}  // namespace mm2
