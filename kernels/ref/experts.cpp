#include <math.h>

#include "kernels/ref/ops.h"

namespace mm2::kernels::ref {

template <typename Real>
void experts(const Executor*, const ExpertsArgs<Real>* args) {
  const ModelShape& shape = *args->shape;
  Real* gate = static_cast<Real*>(args->scratch);  // [intermediate]
  Real* up = gate + shape.intermediate;            // [intermediate]
  Real* down = up + shape.intermediate;            // [hidden] of one expert
  Real* sum = down + shape.hidden;                 // [hidden]
  for (int64_t t = 0; t < args->n_tokens; ++t) {
    const Real* x = args->x + t * shape.hidden;
    for (int32_t i = 0; i < shape.hidden; ++i) sum[i] = 0;
    for (int32_t k = 0; k < shape.top_k; ++k) {
      const ExpertWeights& expert = args->experts[args->ids[t * shape.top_k + k]];
      const Real weight = args->weights[t * shape.top_k + k];
      multiply_row(expert.gate, x, args->activations, gate);
      multiply_row(expert.up, x, args->activations, up);
      for (int32_t i = 0; i < shape.intermediate; ++i) {
        gate[i] = gate[i] / (Real{1} + exp(-gate[i])) * up[i];
      }
      multiply_row(expert.down, gate, args->activations, down);
      for (int32_t i = 0; i < shape.hidden; ++i) sum[i] += weight * down[i];
    }
    for (int32_t i = 0; i < shape.hidden; ++i) args->h[t * shape.hidden + i] += sum[i];
  }
}

template void experts<float>(const Executor*, const ExpertsArgs<float>*);
template void experts<double>(const Executor*, const ExpertsArgs<double>*);

}  // namespace mm2::kernels::ref
