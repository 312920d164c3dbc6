#include <cmath>

#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {

template <typename Real>
void rms_norm_row(const Real* x, const float* weight, float eps, int32_t width, Real* y) {
  Real sum = 0;
  for (int32_t i = 0; i < width; ++i) sum += x[i] * x[i];
  const Real scale = 1 / std::sqrt(sum / static_cast<Real>(width) + Real{eps});
  for (int32_t i = 0; i < width; ++i) y[i] = x[i] * scale * Real{weight[i]};
}

template <typename Real>
void rms_norm(const Executor*, const RmsNormArgs<Real>* a) {
  for (int64_t r = 0; r < a->n_rows; ++r) {
    rms_norm_row(a->x + r * a->width, a->weight, a->eps, a->width, a->y + r * a->width);
  }
}

template void rms_norm_row(const float*, const float*, float, int32_t, float*);
template void rms_norm_row(const double*, const float*, float, int32_t, double*);
template void rms_norm(const Executor*, const RmsNormArgs<float>*);
template void rms_norm(const Executor*, const RmsNormArgs<double>*);

}  // namespace mm2::kernels::ref
