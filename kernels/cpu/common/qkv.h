#pragma once

#include "kernels/cpu/common/activations.h"
#include "kernels/cpu/common/rms_norm.h"
#include "kernels/cpu/layout/kv.h"

namespace mm2::kernels::common {

/// Where the blocks of one of the three matrices go: row t of the result is at y + t * stride.
struct QkvTarget {
  const Matrix* w;
  float* y;
  int64_t stride;
};

template <typename Isa>
static inline void project_block(const QkvArgs<float>& a, const QkvTarget& to, const float* entered,
                                 int64_t block, float* room) {
  alignas(64) float sums[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  const int64_t row0 = block * kBlockRows;
  const int64_t left = to.w->n_out - row0;
  const size_t n_bytes = static_cast<size_t>(left < kBlockRows ? left : kBlockRows) * sizeof(float);
  const int64_t stride = activation_stride(to.w->n_in);
  for (int64_t t0 = 0; t0 < a.n_tokens; t0 += kTokenGroup) {
    const int32_t n = group_size(a.n_tokens - t0);
    for (int32_t t = 0; t < n; ++t) x[t] = entered + (t0 + t) * stride;
    block_product<Isa>(*to.w, block, x, n, a.activations, room, sums);
    for (int32_t t = 0; t < n; ++t) {
      memcpy(to.y + (t0 + t) * to.stride + row0, sums + t * kBlockRows, n_bytes);
    }
  }
}

static inline void rotate_heads(float* heads, int32_t n_heads, int32_t head_dim, const float* rope,
                                int32_t rotary_dim) {
  const int32_t n = rotary_dim / 2;
  for (int32_t head = 0; head < n_heads; ++head) {
    float* x = heads + int64_t{head} * head_dim;
    for (int32_t i = 0; i < n; ++i) {
      const float first = x[i], second = x[n + i];
      x[i] = first * rope[i] - second * rope[n + i];
      x[n + i] = second * rope[i] + first * rope[n + i];
    }
  }
}

static inline void finish_token(const QkvArgs<float>& a, const StepRow& row, int64_t t) {
  const ModelShape& s = *a.shape;
  const int32_t q_width = s.n_heads * s.head_dim;
  const int32_t kv_width = s.n_kv_heads * s.head_dim;
  float* q = a.q_out + t * q_width;
  float* k = a.kv_work + t * 2 * kv_width;
  const float* rope = a.rope + t * s.rotary_dim;
  rms_norm_row(q, a.q_norm, s.rms_norm_eps, q_width, q);
  rms_norm_row(k, a.k_norm, s.rms_norm_eps, kv_width, k);
  rotate_heads(q, s.n_heads, s.head_dim, rope, s.rotary_dim);
  rotate_heads(k, s.n_kv_heads, s.head_dim, rope, s.rotary_dim);
  const int64_t position = row.first_position + t - row.first_token;
  layout::store_position(*a.kv, s, row, a.layer, position, k, k + kv_width);
}

template <typename Isa>
static inline void qkv(const Executor* run, const QkvArgs<float>* a) {
  const ModelShape& s = *a->shape;
  const int64_t room_floats = room_size(s.hidden);
  float* rooms = static_cast<float*>(a->scratch);
  float* entered = rooms + run->n_workers * room_floats;
  enter_rows(run, a->x, a->n_tokens, s.hidden, a->activations, entered);

  // q, k, v: the blocks of the three matrices in one list.
  const int64_t kv_width = int64_t{s.n_kv_heads} * s.head_dim;
  const QkvTarget targets[] = {{a->q, a->q_out, int64_t{s.n_heads} * s.head_dim},
                               {a->k, a->kv_work, 2 * kv_width},
                               {a->v, a->kv_work + kv_width, 2 * kv_width}};
  const int64_t in_q = n_blocks(a->q->n_out), in_k = n_blocks(a->k->n_out);
  const BlockRuns runs(in_q + in_k + n_blocks(a->v->n_out), run->n_workers);
  run_tasks(run, runs.n_tasks, [&](int32_t task, int32_t worker) {
    for (int64_t b = runs.first(task); b < runs.end(task); ++b) {
      const int which = b < in_q ? 0 : b < in_q + in_k ? 1 : 2;
      const int64_t first = which == 0 ? 0 : which == 1 ? in_q : in_q + in_k;
      project_block<Isa>(*a, targets[which], entered, b - first, rooms + worker * room_floats);
    }
  });

  // norm, rotation, cache
  run_tasks(run, a->n_tokens, [&](int32_t t, int32_t) {
    const StepRow* row = a->rows;
    for (; row->first_token + row->n_tokens <= t; ++row) {
    }
    finish_token(*a, *row, t);
  });
}

}  // namespace mm2::kernels::common
