#include <cmath>

#include "kernels/api/parallel.h"
#include "kernels/ref/kv_cache.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {
namespace {

/// One query head of one token. Two walks over the positions: the greatest score, then the sums.
template <typename Real>
void attend(const AttentionArgs<Real>& a, const StepRow& row, int64_t position, int32_t head,
            const Real* q, Real* y) {
  const ModelShape& s = *a.shape;
  const int32_t number = a.kv->number;
  const int32_t kv_head = head / (s.n_heads / s.n_kv_heads);
  const int64_t first = int64_t{kv_head} * s.head_dim;
  const Real k_scale{kv_scale(*a.kv, s, a.kv->k_scales, a.layer, kv_head)};
  const Real v_scale{kv_scale(*a.kv, s, a.kv->v_scales, a.layer, kv_head)};
  const bool rounds = a.activations == kBF16 && number != kF32;
  const auto query = [&](int32_t d) {
    return rounds ? Real{bf16_to_f32(f32_to_bf16(static_cast<float>(q[d])))} : q[d];
  };
  const auto slot = [&](int64_t p) { return kv_slot(*a.kv, s, row, a.layer, p); };
  const auto score = [&](int64_t p) {
    const void* k = slot(p).k;
    Real sum = 0;
    for (int32_t d = 0; d < s.head_dim; ++d) sum += load<Real>(k, number, first + d) * query(d);
    return sum * k_scale / std::sqrt(static_cast<Real>(s.head_dim));
  };

  Real greatest = score(0);
  for (int64_t p = 1; p <= position; ++p) greatest = std::fmax(greatest, score(p));
  Real total = 0;
  for (int32_t d = 0; d < s.head_dim; ++d) y[d] = 0;
  for (int64_t p = 0; p <= position; ++p) {
    const Real weight = std::exp(score(p) - greatest);
    const KvSlot at = slot(p);
    total += weight;
    for (int32_t d = 0; d < s.head_dim; ++d) {
      y[d] += weight * load<Real>(at.k, number, at.v_offset + first + d);
    }
  }
  for (int32_t d = 0; d < s.head_dim; ++d) y[d] = y[d] * v_scale / total;
}

}  // namespace

template <typename Real>
void attention(const Executor* run, const AttentionArgs<Real>* a) {
  const ModelShape& s = *a->shape;
  run_tasks(run, int64_t{a->n_tokens} * s.n_heads, [&](int32_t i, int32_t) {
    const int32_t t = i / s.n_heads;
    const StepRow& row = row_of(a->rows, a->n_rows, t);
    const int64_t position = row.first_position + t - row.first_token;
    const int64_t at = int64_t{i} * s.head_dim;
    attend(*a, row, position, i % s.n_heads, a->q + at, a->y + at);
  });
}

template void attention(const Executor*, const AttentionArgs<float>*);
template void attention(const Executor*, const AttentionArgs<double>*);

}  // namespace mm2::kernels::ref
