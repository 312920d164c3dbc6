#include "tools/merge/rows.h"

#include <bit>
#include <cmath>

namespace mm2 {
namespace {

constexpr int kLanes = 8;

double folded(const double* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

}  // namespace

double row_dot(const float* a, const float* b, int64_t n) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) lanes[k] += double{a[i + k]} * double{b[i + k]};
  }
  for (int k = 0; i < n; ++i, ++k) lanes[k] += double{a[i]} * double{b[i]};
  return folded(lanes);
}

void row_dots(const float* a, const float* b, int64_t n, double* sums) {
  double aa[kLanes] = {}, ab[kLanes] = {}, bb[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const double x = a[i + k], y = b[i + k];
      aa[k] += x * x;
      ab[k] += x * y;
      bb[k] += y * y;
    }
  }
  for (int k = 0; i < n; ++i, ++k) {
    const double x = a[i], y = b[i];
    aa[k] += x * x;
    ab[k] += x * y;
    bb[k] += y * y;
  }
  sums[0] = folded(aa);
  sums[1] = folded(ab);
  sums[2] = folded(bb);
}

double row_magnitude(const float* a, int64_t n) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) lanes[k] += double{std::abs(a[i + k])};
  }
  for (int k = 0; i < n; ++i, ++k) lanes[k] += double{std::abs(a[i])};
  return folded(lanes);
}

void combine_rows(const float* const* rows, const double* coefficients, size_t n_rows, int64_t n,
                  float* out) {
  if (n_rows == 2) {
    const float* const a = rows[0];
    const float* const b = rows[1];
    const double ca = coefficients[0], cb = coefficients[1];
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(ca * a[i] + cb * b[i]);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (size_t k = 0; k < n_rows; ++k) sum += coefficients[k] * rows[k][i];
    out[i] = static_cast<float>(sum);
  }
}

int64_t first_not_finite(const float* a, int64_t n) {
  constexpr uint32_t kInfinity = 0x7f800000u;
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i)
    bad |= (std::bit_cast<uint32_t>(a[i]) & kInfinity) == kInfinity ? 1u : 0u;
  if (bad == 0) return -1;
  for (int64_t i = 0; i < n; ++i) {
    if ((std::bit_cast<uint32_t>(a[i]) & kInfinity) == kInfinity) return i;
  }
  return -1;
}

}  // namespace mm2
