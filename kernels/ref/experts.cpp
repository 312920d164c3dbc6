#include <cmath>

#include "kernels/api/parallel.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {
namespace {

/// sum += weight * down(silu(gate x) * (up x)); `inner` has room for [intermediate], `rounded` for
/// [hidden].
template <typename Real>
void add_expert(const ExpertsArgs<Real>& a, const ExpertWeights& w, Real weight, const Real* x,
                Real* inner, Real* rounded, Real* sum) {
  const Real* gate_x = enter_product(w.gate, x, w.gate.n_in, a.activations, rounded);
  const Real* up_x = enter_product(w.up, x, w.up.n_in, a.activations, rounded);
  for (int64_t i = 0; i < w.gate.n_out; ++i) {
    const Real gate = dot_row(w.gate, i, gate_x, a.activations);
    inner[i] = gate / (1 + std::exp(-gate)) * dot_row(w.up, i, up_x, a.activations);
  }
  const Real* entered = enter_product(w.down, inner, w.gate.n_out, a.activations, inner);
  for (int64_t i = 0; i < w.down.n_out; ++i) {
    sum[i] += weight * dot_row(w.down, i, entered, a.activations);
  }
}

}  // namespace

template <typename Real>
void experts(const Executor* run, const ExpertsArgs<Real>* a) {
  const ModelShape& s = *a->shape;
  const int64_t room = int64_t{s.intermediate} + 2 * int64_t{s.hidden};
  run_tasks(run, a->n_tokens, [&](int32_t t, int32_t worker) {
    Real* inner = static_cast<Real*>(a->scratch) + worker * room;  // [intermediate]
    Real* rounded = inner + s.intermediate;                        // [hidden]
    Real* sum = rounded + s.hidden;                                // [hidden]
    const Real* x = a->x + int64_t{t} * s.hidden;
    for (int32_t i = 0; i < s.hidden; ++i) sum[i] = 0;
    for (int32_t i = 0; i < s.top_k; ++i) {
      const int64_t pair = int64_t{t} * s.top_k + i;
      add_expert(*a, a->experts[a->ids[pair]], a->weights[pair], x, inner, rounded, sum);
    }
    for (int32_t i = 0; i < s.hidden; ++i) a->h[int64_t{t} * s.hidden + i] += sum[i];
  });
}

template void experts(const Executor*, const ExpertsArgs<float>*);
template void experts(const Executor*, const ExpertsArgs<double>*);

}  // namespace mm2::kernels::ref
