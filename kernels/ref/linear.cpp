#include "kernels/api/parallel.h"
#include "kernels/ref/number.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {

template <typename Real>
Real dot_row(const Matrix& w, int64_t row, const Real* x) {
  return with_row<Real>(w, row, [&](auto weight) {
    // One addition per turn, not two: g++ 12.2 vectorises an ordered sum of a[k + 1], a[k] wrongly.
    const int64_t n_paired = w.n_in / 2 * 2;
    Real sum = 0;
    for (int64_t k = 0; k < n_paired; ++k) sum += weight(k ^ 1) * x[k ^ 1];
    if (w.n_in % 2 != 0) sum += weight(w.n_in - 1) * x[w.n_in - 1];
    return sum;
  });
}

template <typename Real>
const Real* enter_product(const Real* x, int64_t n, int32_t activations, Real* rounded) {
  const bool to_f32 = activations == kF32 && sizeof(Real) > sizeof(float);
  if (activations != kBF16 && !to_f32) return x;
  for (int64_t i = 0; i < n; ++i) {
    const float single = static_cast<float>(x[i]);
    rounded[i] = Real{activations == kBF16 ? bf16_to_f32(f32_to_bf16(single)) : single};
  }
  return rounded;
}

template <typename Real>
void linear(const Executor* run, const LinearArgs<Real>* a) {
  const Matrix& w = *a->w;
  const Real* x =
      enter_product(a->x, a->n_tokens * w.n_in, a->activations, static_cast<Real*>(a->scratch));
  run_tasks(run, w.n_out, [&](int32_t row, int32_t) {
    for (int64_t t = 0; t < a->n_tokens; ++t) {
      const Real sum = dot_row(w, row, x + t * w.n_in);
      const int64_t i = t * w.n_out + row;
      a->y[i] = a->add == nullptr ? sum : a->add[i] + sum;
    }
  });
}

template float dot_row(const Matrix&, int64_t, const float*);
template double dot_row(const Matrix&, int64_t, const double*);
template const float* enter_product(const float*, int64_t, int32_t, float*);
template const double* enter_product(const double*, int64_t, int32_t, double*);
template void linear(const Executor*, const LinearArgs<float>*);
template void linear(const Executor*, const LinearArgs<double>*);

}  // namespace mm2::kernels::ref
