#include "cuda_check/doubt.h"

#include <algorithm>
#include <cmath>

#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;

Row exactly(const float* values, int64_t n) {
  Row row(static_cast<size_t>(n));
  for (size_t i = 0; i < row.size(); ++i) row[i].value = values[i];
  return row;
}

Row entered(const Row& x, int32_t activations) {
  if (activations != kBF16) return x;
  const auto rounded = [](double v) {
    return double{bf16_to_f32(f32_to_bf16(static_cast<float>(v)))};
  };
  Row row(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const auto [value, doubt] = x[i];
    const double here = rounded(value);
    row[i] = {here, std::max(rounded(value + doubt) - here, here - rounded(value - doubt))};
  }
  return row;
}

Row multiply(const HostMatrix& w, const Row& x, const Licence& licence) {
  Row y(static_cast<size_t>(w.n_out));
  // A rounding of each product and each addition; of scales and what they are multiplied with; with
  // zeros the sum of x besides.
  const double n = static_cast<double>(w.n_in) * (w.format.zeros != 0 ? 2 : 1) + 8;
  for (size_t row = 0; row < y.size(); ++row) {
    const double* values = &w.values[row * x.size()];
    const double* sizes = &w.sizes[row * x.size()];
    double sum = 0, doubt = 0, size = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      sum += values[k] * x[k].value;
      doubt += std::abs(values[k]) * x[k].doubt;
      size += sizes[k] * (std::abs(x[k].value) + x[k].doubt);
    }
    y[row] = {sum, doubt + n * licence.rounding * size};
  }
  return y;
}

Row add(const Row& a, const Row& b) {
  Row y(a.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const double value = a[i].value + b[i].value;
    y[i] = {value, a[i].doubt + b[i].doubt + kRounding * std::abs(value)};
  }
  return y;
}

Row rms_norm(const Row& x, const std::vector<float>& weight, float eps) {
  double squares = 0, wrong = 0;
  for (const auto& [value, doubt] : x) {
    squares += value * value;
    wrong += 2 * std::abs(value) * doubt + doubt * doubt;
  }
  const auto n = static_cast<double>(x.size());
  const double root = std::sqrt(squares / n + double{eps});
  // Of the root: half of what its square is off by, and of the additions; two roundings besides.
  const double relative =
      0.5 * (wrong / (squares + n * double{eps}) + (n + 4) * kRounding) + 3 * kRounding;
  Row y(x.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const double factor = double{weight[i]} / root;
    const double value = x[i].value * factor;
    y[i] = {value, std::abs(factor) * x[i].doubt + relative * std::abs(value) +
                       4 * kRounding * std::abs(value)};
  }
  return y;
}

void rotate(Row& x, int32_t head_dim, int32_t rotary_dim, double theta, int32_t position) {
  const int32_t half = rotary_dim / 2;
  for (size_t head = 0; head < x.size(); head += static_cast<size_t>(head_dim)) {
    for (int32_t i = 0; i < half; ++i) {
      Doubtful& a = x[head + static_cast<size_t>(i)];
      Doubtful& b = x[head + static_cast<size_t>(i + half)];
      const double angle = position * std::pow(theta, -2.0 * i / rotary_dim);
      const double c = std::cos(angle), s = std::sin(angle);
      const double own = (std::abs(a.value) + std::abs(b.value)) * (kAngleError + 3 * kRounding);
      const Doubtful first{a.value * c - b.value * s,
                           std::abs(c) * a.doubt + std::abs(s) * b.doubt + own};
      const Doubtful second{b.value * c + a.value * s,
                            std::abs(c) * b.doubt + std::abs(s) * a.doubt + own};
      a = first;
      b = second;
    }
  }
}

Row gated(const Row& gate, const Row& up) {
  Row y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const auto [g, dg] = gate[i];
    const auto [u, du] = up[i];
    const double silu = g / (1 + std::exp(-g));
    // The slope of silu is at most 1.1; exp is off by more where its argument is large.
    const double dsilu =
        1.1 * dg + std::abs(silu) * (kExpError + 4 * kRounding * (1 + std::abs(g)));
    const double value = silu * u;
    y[i] = {value,
            (std::abs(silu) + dsilu) * du + std::abs(u) * dsilu + kRounding * std::abs(value)};
  }
  return y;
}

double worst_ratio(const float* got, const Row& want) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double off = std::abs(double{got[i]} - want[i].value);
    const double allowed = want[i].doubt + kRounding * std::abs(want[i].value) + 1e-30;
    if (!std::isfinite(got[i])) return INFINITY;
    worst = std::max(worst, off / allowed);
  }
  return worst;
}

}  // namespace check
