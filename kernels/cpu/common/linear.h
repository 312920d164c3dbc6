#pragma once

#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::common {

// Blocks [from, end) for n tokens from t0 on.
template <typename Isa>
static inline void multiply_blocks(const LinearArgs<float>& a, const float* entered, int64_t t0,
                                   int32_t n, int64_t from, int64_t end, void* room) {
  alignas(64) float sums[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  Prepared prepared;
  const int64_t n_out = a.w->n_out;
  for (int32_t t = 0; t < n; ++t) x[t] = entered + (t0 + t) * activation_stride(a.w->n_in);
  Isa::prepare(*a.w, x, n, a.activations, room, &prepared);
  for (int64_t block = from; block < end; ++block) {
    const int64_t row0 = block * kBlockRows;
    const int64_t n_rows = n_out - row0 < kBlockRows ? n_out - row0 : kBlockRows;
    Isa::product(*a.w, block, prepared, a.activations, sums);
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
  const int64_t room = room_bytes(a->w->n_in);
  char* rooms = static_cast<char*>(a->scratch);
  float* entered = reinterpret_cast<float*>(rooms + run->n_workers * room);
  enter_rows(run, a->x, a->n_tokens, a->w->n_in, a->activations, entered);
  const BlockRuns runs(n_blocks(a->w->n_out), run->n_workers);
  run_tasks(run, runs.n_tasks, [&](int32_t task, int32_t worker) {
    for (int64_t t0 = 0; t0 < a->n_tokens; t0 += kTokenGroup) {
      multiply_blocks<Isa>(*a, entered, t0, group_size(a->n_tokens - t0), runs.first(task),
                           runs.end(task), rooms + worker * room);
    }
  });
}

static inline int64_t linear_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers) {
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t widest = s.hidden > q_width ? s.hidden : q_width;
  return max_tokens * activation_stride(widest) * int64_t{sizeof(float)} +
         n_workers * room_bytes(widest);
}

}  // namespace mm2::kernels::common
