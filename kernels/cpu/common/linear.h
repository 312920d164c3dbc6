#pragma once

#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::common {

// One block of rows for every token.
template <typename Isa>
static inline void multiply_block(const LinearArgs<float>& a, const float* entered, int64_t block,
                                  float* room) {
  alignas(64) float sums[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  const int64_t n_out = a.w->n_out;
  const int64_t row0 = block * kBlockRows;
  const int64_t n_rows = n_out - row0 < kBlockRows ? n_out - row0 : kBlockRows;
  const int64_t stride = activation_stride(a.w->n_in);
  for (int64_t t0 = 0; t0 < a.n_tokens; t0 += kTokenGroup) {
    const int32_t n = group_size(a.n_tokens - t0);
    for (int32_t t = 0; t < n; ++t) x[t] = entered + (t0 + t) * stride;
    block_product<Isa>(*a.w, block, x, n, a.activations, room, sums);
    for (int32_t t = 0; t < n; ++t) {
      const int64_t at = (t0 + t) * n_out + row0;
      const float* sum = sums + t * kBlockRows;
      for (int64_t i = 0; i < n_rows; ++i) {
        a.y[at + i] = a.add == nullptr ? sum[i] : a.add[at + i] + sum[i];
      }
    }
  }
}

template <typename Isa>
static inline void linear(const Executor* run, const LinearArgs<float>* a) {
  const int64_t room_floats = room_size(a->w->n_in);
  float* rooms = static_cast<float*>(a->scratch);
  float* entered = rooms + run->n_workers * room_floats;
  enter_rows(run, a->x, a->n_tokens, a->w->n_in, a->activations, entered);
  const BlockRuns runs(n_blocks(a->w->n_out), run->n_workers);
  run_tasks(run, runs.n_tasks, [&](int32_t task, int32_t worker) {
    for (int64_t b = runs.first(task); b < runs.end(task); ++b) {
      multiply_block<Isa>(*a, entered, b, rooms + worker * room_floats);
    }
  });
}

static inline int64_t linear_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers) {
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t widest = s.hidden > q_width ? s.hidden : q_width;
  const int64_t floats = max_tokens * activation_stride(widest) + n_workers * room_size(widest);
  return floats * int64_t{sizeof(float)};
}

}  // namespace mm2::kernels::common
