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

/// The blocks of the three matrices in one list.
struct QkvBlocks {
  QkvTarget targets[3];
  int64_t first[4];  // of each matrix in the list, and its end

  explicit QkvBlocks(const QkvArgs<float>& a) {
    const ModelShape& s = *a.shape;
    const int64_t kv_width = int64_t{s.n_kv_heads} * s.head_dim;
    targets[0] = {a.q, a.q_out, int64_t{s.n_heads} * s.head_dim};
    targets[1] = {a.k, a.kv_work, 2 * kv_width};
    targets[2] = {a.v, a.kv_work + kv_width, 2 * kv_width};
    first[0] = 0;
    for (int i = 0; i < 3; ++i) first[i + 1] = first[i] + n_blocks(targets[i].w->n_out);
  }
};

// Blocks [from, end) of the list for n tokens from t0 on.
template <typename Isa>
static inline void project_blocks(const QkvArgs<float>& a, const QkvBlocks& list,
                                  const float* entered, int64_t t0, int32_t n, int64_t from,
                                  int64_t end, void* room) {
  alignas(64) float sums[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  Prepared prepared;
  for (int32_t t = 0; t < n; ++t) x[t] = entered + (t0 + t) * activation_stride(a.shape->hidden);
  for (int which = 0; which < 3; ++which) {
    const QkvTarget& to = list.targets[which];
    const int64_t b0 = list.first[which];
    const int64_t low = from > b0 ? from : b0;
    const int64_t high = end < list.first[which + 1] ? end : list.first[which + 1];
    if (low >= high) continue;
    Isa::prepare(*to.w, x, n, a.activations, room, &prepared);
    for (int64_t block = low - b0; block < high - b0; ++block) {
      Isa::product(*to.w, block, prepared, a.activations, sums);
      const int64_t row0 = block * kBlockRows;
      const int64_t left = to.w->n_out - row0;
      const size_t bytes = static_cast<size_t>(left < kBlockRows ? left : kBlockRows) * 4;
      for (int32_t t = 0; t < n; ++t) {
        memcpy(to.y + (t0 + t) * to.stride + row0, sums + t * kBlockRows, bytes);
      }
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
  const int64_t room = room_bytes(s.hidden);
  char* rooms = static_cast<char*>(a->scratch);
  float* entered = reinterpret_cast<float*>(rooms + run->n_workers * room);
  enter_rows(run, a->x, a->n_tokens, s.hidden, a->activations, entered);

  const QkvBlocks list(*a);
  const BlockRuns runs(list.first[3], run->n_workers);
  run_tasks(run, runs.n_tasks, [&](int32_t task, int32_t worker) {
    for (int64_t t0 = 0; t0 < a->n_tokens; t0 += kTokenGroup) {
      project_blocks<Isa>(*a, list, entered, t0, group_size(a->n_tokens - t0), runs.first(task),
                          runs.end(task), rooms + worker * room);
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
