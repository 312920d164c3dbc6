#include "tools/merge/rows.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/vector_code.h"

namespace mm2 {
namespace {

constexpr int kLanes = 8;

// Sums in eight lanes.
struct EightSums {
  FourDoubles low = {}, high = {};

  // ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))
  double folded() const {
    const FourDoubles sum = low + high;
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
  }
};

// Calls each(index of the first, row) for eight numbers at a time; behind the last ones stand zeros,
// whose products add nothing: a sum that began at 0 is never -0.
template <size_t kRows, typename F>
inline __attribute__((always_inline)) void for_each_eight(const float* const (&rows)[kRows],
                                                          int64_t n, F&& each) {
  int64_t i = 0;
  const float* at[kRows];
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t r = 0; r < kRows; ++r) at[r] = rows[r] + i;
    each(at);
  }
  if (i == n) return;
  float rest[kRows][kLanes] = {};
  for (size_t r = 0; r < kRows; ++r) {
    std::memcpy(rest[r], rows[r] + i, static_cast<size_t>(n - i) * sizeof(float));
    at[r] = rest[r];
  }
  each(at);
}

inline __attribute__((always_inline)) double dot_loop(const float* a, const float* b, int64_t n) {
  EightSums sums;
  const float* const rows[] = {a, b};
  for_each_eight(
      rows, n, [&](const auto& at) __attribute__((always_inline)) {
        FourDoubles x, y;
        load_four(at[0], x);
        load_four(at[1], y);
        sums.low += x * y;
        load_four(at[0] + 4, x);
        load_four(at[1] + 4, y);
        sums.high += x * y;
      });
  return sums.folded();
}

inline __attribute__((always_inline)) void dots_loop(const float* a, const float* b, int64_t n,
                                                     double* sums) {
  EightSums aa, ab, bb;
  const float* const rows[] = {a, b};
  for_each_eight(
      rows, n, [&](const auto& at) __attribute__((always_inline)) {
        FourDoubles x, y;
        load_four(at[0], x);
        load_four(at[1], y);
        aa.low += x * x;
        ab.low += x * y;
        bb.low += y * y;
        load_four(at[0] + 4, x);
        load_four(at[1] + 4, y);
        aa.high += x * x;
        ab.high += x * y;
        bb.high += y * y;
      });
  sums[0] = aa.folded();
  sums[1] = ab.folded();
  sums[2] = bb.folded();
}

inline __attribute__((always_inline)) double magnitude_loop(const float* a, int64_t n) {
  EightSums sums;
  const float* const rows[] = {a};
  for_each_eight(
      rows, n, [&](const auto& at) __attribute__((always_inline)) {
        FourDoubles x;
        load_four(at[0], x);
        sums.low += x < 0 ? -x : x;
        load_four(at[0] + 4, x);
        sums.high += x < 0 ? -x : x;
      });
  return sums.folded();
}

inline __attribute__((always_inline)) void combine_two_loop(const float* a, const float* b,
                                                            double ca, double cb, int64_t n,
                                                            float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(ca * a[i] + cb * b[i]);
}

inline __attribute__((always_inline)) bool all_finite_loop(const float* a, int64_t n) {
  constexpr uint32_t kInfinity = 0x7f800000u;
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    bad |= (std::bit_cast<uint32_t>(a[i]) & kInfinity) == kInfinity ? 1u : 0u;
  }
  return bad == 0;
}

}  // namespace

double row_dot(const float* a, const float* b, int64_t n) {
  return VectorCode<dot_loop>::run(a, b, n);
}

void row_dots(const float* a, const float* b, int64_t n, double* sums) {
  VectorCode<dots_loop>::run(a, b, n, sums);
}

double row_magnitude(const float* a, int64_t n) {
  return VectorCode<magnitude_loop>::run(a, n);
}

void combine_rows(const float* const* rows, const double* coefficients, size_t n_rows, int64_t n,
                  float* out) {
  if (n_rows == 2) {
    return VectorCode<combine_two_loop>::run(rows[0], rows[1], coefficients[0], coefficients[1], n,
                                             out);
  }
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (size_t k = 0; k < n_rows; ++k) sum += coefficients[k] * rows[k][i];
    out[i] = static_cast<float>(sum);
  }
}

int64_t first_not_finite(const float* a, int64_t n) {
  if (VectorCode<all_finite_loop>::run(a, n)) return -1;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(a[i])) return i;
  }
  return -1;
}

}  // namespace mm2
