#include "kernels/api/parallel.h"
#include "kernels/ref/kv_cache.h"
#include "kernels/ref/ref.h"

namespace mm2::kernels::ref {
namespace {

template <typename Real>
void rotate_heads(Real* heads, int32_t n_heads, int32_t head_dim, const Real* rope,
                  int32_t rotary_dim) {
  const int32_t n = rotary_dim / 2;
  for (int32_t head = 0; head < n_heads; ++head) {
    Real* x = heads + int64_t{head} * head_dim;
    for (int32_t i = 0; i < n; ++i) {
      const Real cos = rope[i], sin = rope[n + i];
      const Real first = x[i], second = x[n + i];
      x[i] = first * cos - second * sin;
      x[n + i] = second * cos + first * sin;
    }
  }
}

}  // namespace

template <typename Real>
void qkv(const Executor* run, const QkvArgs<Real>* a) {
  const ModelShape& s = *a->shape;
  const int32_t q_width = s.n_heads * s.head_dim;
  const int32_t kv_width = s.n_kv_heads * s.head_dim;
  const auto entered = [&](const Matrix& w) {
    return enter_product(w, a->x, int64_t{a->n_tokens} * s.hidden, a->activations,
                         static_cast<Real*>(a->scratch));
  };
  const Real *q_x = entered(*a->q), *k_x = entered(*a->k), *v_x = entered(*a->v);

  // q, k, v
  run_tasks(run, q_width + 2 * kv_width, [&](int32_t i, int32_t) {
    for (int64_t t = 0; t < a->n_tokens; ++t) {
      const int64_t at = t * s.hidden;
      Real* kv = a->kv_work + t * 2 * kv_width;
      if (i < q_width) {
        a->q_out[t * q_width + i] = dot_row(*a->q, i, q_x + at, a->activations);
      } else if (i < q_width + kv_width) {
        kv[i - q_width] = dot_row(*a->k, i - q_width, k_x + at, a->activations);
      } else {
        kv[i - q_width] = dot_row(*a->v, i - q_width - kv_width, v_x + at, a->activations);
      }
    }
  });

  // norm, rotation, cache
  run_tasks(run, a->n_tokens, [&](int32_t t, int32_t) {
    Real* q = a->q_out + int64_t{t} * q_width;
    Real* k = a->kv_work + int64_t{t} * 2 * kv_width;
    const Real* rope = a->rope + int64_t{t} * s.rotary_dim;
    rms_norm_row(q, a->q_norm, s.rms_norm_eps, q_width, q);
    rms_norm_row(k, a->k_norm, s.rms_norm_eps, kv_width, k);
    rotate_heads(q, s.n_heads, s.head_dim, rope, s.rotary_dim);
    rotate_heads(k, s.n_kv_heads, s.head_dim, rope, s.rotary_dim);
    const StepRow& row = row_of(a->rows, a->n_rows, t);
    const int64_t position = row.first_position + t - row.first_token;
    const KvSlot slot = kv_slot(*a->kv, s, row, a->layer, position);
    const KvCache& kv = *a->kv;
    const auto stored = [&](Real number, const float* scales, int32_t i) {
      if (kv.number != kE4M3) return number;
      return Real{static_cast<float>(number) / kv_scale(kv, s, scales, a->layer, i / s.head_dim)};
    };
    for (int32_t i = 0; i < kv_width; ++i) {
      store(slot.k, kv.number, i, stored(k[i], kv.k_scales, i));
      store(slot.k, kv.number, slot.v_offset + i, stored(k[kv_width + i], kv.v_scales, i));
    }
  });
}

template void qkv(const Executor*, const QkvArgs<float>*);
template void qkv(const Executor*, const QkvArgs<double>*);

}  // namespace mm2::kernels::ref
