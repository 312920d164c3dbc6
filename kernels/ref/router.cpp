#include <cmath>

#include "kernels/api/parallel.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {
namespace {

/// The top_k of score + bias, ascending; of equal ones the lower id. Always top_k different ids.
template <typename Real>
void select(const Real* scores, const float* bias, int32_t n_experts, int32_t top_k, int32_t* ids) {
  for (int32_t n = 0; n < top_k; ++n) {
    int32_t best = -1;
    for (int32_t e = 0; e < n_experts; ++e) {
      bool taken = false;
      for (int32_t i = 0; i < n; ++i) taken |= ids[i] == e;
      if (taken) continue;
      if (best < 0 || scores[e] + Real{bias[e]} > scores[best] + Real{bias[best]}) best = e;
    }
    int32_t at = n;
    for (; at > 0 && ids[at - 1] > best; --at) ids[at] = ids[at - 1];
    ids[at] = best;
  }
}

}  // namespace

template <typename Real>
void router(const Executor* run, const RouterArgs<Real>* a) {
  const ModelShape& s = *a->shape;
  run_tasks(run, a->n_tokens, [&](int32_t t, int32_t) {
    Real* scores = static_cast<Real*>(a->scratch) + int64_t{t} * s.n_experts;
    int32_t* ids = a->ids + int64_t{t} * s.top_k;
    Real* weights = a->weights + int64_t{t} * s.top_k;
    for (int32_t e = 0; e < s.n_experts; ++e) {
      scores[e] = 1 / (1 + std::exp(-dot_row(*a->gate, e, a->x + int64_t{t} * s.hidden)));
    }
    select(scores, a->bias, s.n_experts, s.top_k, ids);
    Real sum = 0;
    for (int32_t i = 0; i < s.top_k; ++i) sum += scores[ids[i]];
    for (int32_t i = 0; i < s.top_k; ++i) weights[i] = scores[ids[i]] / sum;
  });
}

template void router(const Executor*, const RouterArgs<float>*);
template void router(const Executor*, const RouterArgs<double>*);

}  // namespace mm2::kernels::ref
