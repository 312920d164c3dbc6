#include <math.h>

#include "kernels/ref/ops.h"

namespace mm2::kernels::ref {

template <typename Real>
void rms_norm(const Executor*, const RmsNormArgs<Real>* args) {
  for (int64_t r = 0; r < args->n_rows; ++r) {
    const Real* x = args->x + r * args->width;
    Real* y = args->y + r * args->width;
    Real squares = 0;
    for (int32_t i = 0; i < args->width; ++i) squares += x[i] * x[i];
    const Real scale = Real{1} / sqrt(squares / static_cast<Real>(args->width) + Real{args->eps});
    for (int32_t i = 0; i < args->width; ++i) y[i] = x[i] * scale * Real{args->weight[i]};
  }
}

template void rms_norm<float>(const Executor*, const RmsNormArgs<float>*);
template void rms_norm<double>(const Executor*, const RmsNormArgs<double>*);

}  // namespace mm2::kernels::ref
