#include <math.h>

#include "kernels/ref/numbers.h"
#include "kernels/ref/ops.h"

namespace mm2::kernels::ref {

template <typename Real>
void router(const Executor*, const RouterArgs<Real>* args) {
  const ModelShape& shape = *args->shape;
  Real* scores = static_cast<Real*>(args->scratch);  // [n_experts] sigmoid
  for (int64_t t = 0; t < args->n_tokens; ++t) {
    multiply_row(*args->gate, args->x + t * shape.hidden, kF32, scores);
    for (int32_t e = 0; e < shape.n_experts; ++e) scores[e] = Real{1} / (Real{1} + exp(-scores[e]));

    // Selection by score + bias: an expert is in if fewer than top_k others stand before it; ties to the lower id.
    int32_t* ids = args->ids + t * shape.top_k;
    Real* weights = args->weights + t * shape.top_k;
    int32_t n_selected = 0;
    Real sum = 0;
    for (int32_t e = 0; e < shape.n_experts; ++e) {
      const Real mine = scores[e] + Real{args->bias[e]};
      int32_t before = 0;
      for (int32_t other = 0; other < shape.n_experts; ++other) {
        const Real theirs = scores[other] + Real{args->bias[other]};
        // Written so that a NaN never wins and the count still comes out as top_k.
        before += theirs > mine || (!(mine > theirs) && !(theirs > mine) && other < e) ? 1 : 0;
      }
      if (before >= shape.top_k || n_selected == shape.top_k) continue;
      ids[n_selected] = e;
      weights[n_selected] = scores[e];
      sum += scores[e];
      ++n_selected;
    }
    // Only NaN can leave places empty: any ids will do, the sequence is lost.
    for (; n_selected < shape.top_k; ++n_selected) {
      ids[n_selected] = n_selected;
      weights[n_selected] = sum - sum + scores[0];
    }
    for (int32_t k = 0; k < shape.top_k; ++k) weights[k] /= sum;
  }
}

template void router<float>(const Executor*, const RouterArgs<float>*);
template void router<double>(const Executor*, const RouterArgs<double>*);

}  // namespace mm2::kernels::ref
