#include <cmath>

#include "kernels/api/parallel.h"
#include "kernels/ref/codes.h"
#include "kernels/ref/number.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {
namespace {

// The chain of ops.h over n products. One addition per turn, not two: g++ 12.2 vectorises an
// ordered sum of a[k + 1], a[k] wrongly.
template <typename Real, typename Product>
Real chain(Real sum, int64_t n, const Product& product) {
  const int64_t n_paired = n / 2 * 2;
  for (int64_t k = 0; k < n_paired; ++k) sum += product(k ^ 1);
  if (n % 2 != 0) sum += product(n - 1);
  return sum;
}

template <typename Real>
Real dot_codes(const Matrix& w, int64_t row, const Real* x) {
  const Format& f = w.format;
  const CodeMatrix m = code_matrix(f, w.n_out, w.n_in, w.data);
  const uint8_t* codes = m.codes + row * w.n_in;
  const float* scales = m.scales + row * m.patches;
  const auto x_at = [&](int64_t k) { return x[m.order == nullptr ? k : m.order[k]]; };
  if (scale_in_code(f)) {
    return chain(Real{0}, w.n_in, [&](int64_t k) {
      return Real{code_value(f, codes[k]) * scales[k / f.patch_cols]} * x_at(k);
    });
  }
  Real y = 0;
  for (int64_t k0 = 0; k0 < w.n_in; k0 += sum_group(f)) {
    const int64_t n = w.n_in - k0 < sum_group(f) ? w.n_in - k0 : sum_group(f);
    const int64_t patch = k0 / f.patch_cols;
    Real start = 0;
    if (f.zeros != 0) {
      const Real s = chain(Real{0}, n, [&](int64_t k) { return x_at(k0 + k); });
      start = -(static_cast<Real>(m.zeros[row * m.patches + patch]) * s);
    }
    const Real sum = chain(
        start, n, [&](int64_t k) { return Real{code_value(f, codes[k0 + k])} * x_at(k0 + k); });
    y += Real{scales[patch]} * sum;
  }
  return y;
}

/// Up to 128 activations as integers of 8 bits.
struct Int8Group {
  int32_t codes[kSumGroup];
  float scale;
};

template <typename X>
Int8Group quantize(int64_t n, const X& x) {
  Int8Group group{};
  float size = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float one = std::fabs(static_cast<float>(x(i)));
    if (!std::isfinite(one)) {
      group.scale = NAN;
      return group;
    }
    size = one > size ? one : size;
  }
  if (size < kLeastInt8) return group;
  const float inverse = 127.0f / size;
  for (int64_t i = 0; i < n; ++i) {
    group.codes[i] = static_cast<int32_t>(std::nearbyint(static_cast<float>(x(i)) * inverse));
  }
  group.scale = size / 127.0f;
  return group;
}

template <typename Real>
Real dot_integers(const Matrix& w, int64_t row, const Real* x) {
  const Format& f = w.format;
  const CodeMatrix m = code_matrix(f, w.n_out, w.n_in, w.data);
  const uint8_t* codes = m.codes + row * w.n_in;
  const auto smaller = [](int64_t a, int64_t b) { return a < b ? a : b; };
  Real y = 0;
  for (int64_t k0 = 0; k0 < w.n_in; k0 += kSumGroup) {
    const int64_t n = smaller(kSumGroup, w.n_in - k0);
    const Int8Group group =
        quantize(n, [&](int64_t i) { return x[m.order == nullptr ? k0 + i : m.order[k0 + i]]; });
    for (int64_t i = 0; i < n; i += sum_group(f)) {
      const int64_t patch = row * m.patches + (k0 + i) / f.patch_cols;
      const int32_t zero = f.zeros != 0 ? m.zeros[patch] : 1 << (f.bits - 1);
      int32_t sum = 0;
      for (int64_t j = i; j < smaller(n, i + sum_group(f)); ++j) {
        sum += (codes[k0 + j] - zero) * group.codes[j];
      }
      const Real scale = Real{m.scales[patch]} * Real{group.scale};
      y += scale * static_cast<Real>(sum);
    }
  }
  return y;
}

}  // namespace

template <typename Real>
Real dot_row(const Matrix& w, int64_t row, const Real* x, int32_t activations) {
  Real sum;
  if (entering(w.format, activations) == kI8) {
    sum = dot_integers(w, row, x);
  } else if (is_plain(w.format)) {
    sum = with_row<Real>(w, row, [&](auto weight) {
      return chain(Real{0}, w.n_in, [&](int64_t k) { return weight(k) * x[k]; });
    });
  } else {
    sum = dot_codes(w, row, x);
  }
  if (w.output_scale == 1.0f) return sum;
  const Real scale{w.output_scale};
  return w.output_divides != 0 ? sum / scale : sum * scale;
}

template <typename Real>
const Real* enter_product(const Matrix& w, const Real* x, int64_t n, int32_t activations,
                          Real* rounded) {
  const int32_t number = entering(w.format, activations);
  const bool to_f32 = number == kF32 && sizeof(Real) > sizeof(float);
  if (number != kBF16 && !to_f32) return x;
  for (int64_t i = 0; i < n; ++i) {
    const float single = static_cast<float>(x[i]);
    rounded[i] = Real{number == kBF16 ? bf16_to_f32(f32_to_bf16(single)) : single};
  }
  return rounded;
}

template <typename Real>
void linear(const Executor* run, const LinearArgs<Real>* a) {
  const Matrix& w = *a->w;
  const Real* x =
      enter_product(w, a->x, a->n_tokens * w.n_in, a->activations, static_cast<Real*>(a->scratch));
  run_tasks(run, w.n_out, [&](int32_t row, int32_t) {
    for (int64_t t = 0; t < a->n_tokens; ++t) {
      const Real sum = dot_row(w, row, x + t * w.n_in, a->activations);
      const int64_t i = t * w.n_out + row;
      a->y[i] = a->add == nullptr ? sum : a->add[i] + sum;
    }
  });
}

template float dot_row(const Matrix&, int64_t, const float*, int32_t);
template double dot_row(const Matrix&, int64_t, const double*, int32_t);
template const float* enter_product(const Matrix&, const float*, int64_t, int32_t, float*);
template const double* enter_product(const Matrix&, const double*, int64_t, int32_t, double*);
template void linear(const Executor*, const LinearArgs<float>*);
template void linear(const Executor*, const LinearArgs<double>*);

}  // namespace mm2::kernels::ref
