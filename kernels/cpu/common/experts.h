// (token, expert) pairs sorted by expert; then gate, up and SiLU for each pair, by expert; then
// down and the weighted sum, by rows of the output, experts ascending.
#pragma once

#include "kernels/api/math.h"
#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::common {

struct ExpertsScratch {
  float* entered;   // [n_tokens, activation_stride(hidden)]
  float* inner;     // [n_pairs, activation_stride(intermediate)] silu(gate x) * (up x), entered
  float* sums;      // [n_tokens, hidden rounded up to kBlockRows]
  int32_t* pairs;   // [n_pairs] indices into ids, by expert, then by token
  int32_t* first;   // [n_experts + 1] of each expert's pairs
  int32_t* active;  // [n_experts] experts with at least one pair
  char* rooms;      // [n_workers, room] bytes
  int64_t room;
  int64_t bytes;
};

static inline ExpertsScratch cut_experts_scratch(const ModelShape& s, int64_t n_tokens,
                                                 int64_t n_workers, void* base) {
  const int64_t pairs = n_tokens * s.top_k;
  Cutter cut{static_cast<char*>(base)};
  ExpertsScratch scratch{};
  scratch.entered = cut.take<float>(n_tokens * activation_stride(s.hidden));
  scratch.inner = cut.take<float>(pairs * activation_stride(s.intermediate));
  scratch.sums = cut.take<float>(n_tokens * round_up(s.hidden, kBlockRows));
  scratch.pairs = cut.take<int32_t>(pairs);
  scratch.first = cut.take<int32_t>(int64_t{s.n_experts} + 1);
  scratch.active = cut.take<int32_t>(s.n_experts);
  scratch.room = room_bytes(s.hidden > s.intermediate ? s.hidden : s.intermediate);
  scratch.rooms = cut.take<char>(n_workers * scratch.room);
  scratch.bytes = cut.bytes;
  return scratch;
}

// Counting sort; returns how many experts are active.
static inline int32_t sort_by_expert(const ExpertsArgs<float>& a, const ExpertsScratch& to) {
  const int32_t n_experts = a.shape->n_experts;
  const int32_t n_pairs = a.n_tokens * a.shape->top_k;
  for (int32_t e = 0; e <= n_experts; ++e) to.first[e] = 0;
  for (int32_t i = 0; i < n_pairs; ++i) ++to.first[a.ids[i] + 1];
  for (int32_t e = 0; e < n_experts; ++e) to.first[e + 1] += to.first[e];
  for (int32_t i = 0; i < n_pairs; ++i) to.pairs[to.first[a.ids[i]]++] = i;
  // Each start has moved to the next one's place.
  for (int32_t e = n_experts; e > 0; --e) to.first[e] = to.first[e - 1];
  to.first[0] = 0;
  int32_t n_active = 0;
  for (int32_t e = 0; e < n_experts; ++e) {
    if (to.first[e + 1] > to.first[e]) to.active[n_active++] = e;
  }
  return n_active;
}

/// Blocks [from, end) of a matrix.
struct Run {
  int64_t from, end;
};

// silu(gate) * up of rows row0 .. row0 + 64 for n pairs from j on, as it enters the next product.
static inline void join_gate_up(const ExpertsArgs<float>& a, const ExpertsScratch& scratch,
                                int32_t j, int32_t n, int64_t row0, const float* gate,
                                const float* up) {
  const int64_t width = a.shape->intermediate;
  const int64_t n_rows = width - row0 < kBlockRows ? width - row0 : kBlockRows;
  for (int32_t t = 0; t < n; ++t, gate += kBlockRows, up += kBlockRows) {
    float* to = scratch.inner + (j + t) * activation_stride(width) + row0;
    for (int64_t i = 0; i < n_rows; ++i) to[i] = gate[i] * sigmoid_f32(gate[i]) * up[i];
    if (a.activations == kBF16) {
      for (int64_t i = 0; i < n_rows; ++i) to[i] = bf16_to_f32(f32_to_bf16(to[i]));
    }
    if (row0 + n_rows == width) pad_row(to - row0, width);
  }
}

// Some blocks of gate and up of one expert, for all its tokens.
template <typename Isa>
static inline void gate_up_blocks(const ExpertsArgs<float>& a, const ExpertsScratch& scratch,
                                  int32_t expert, Run run, void* room) {
  alignas(64) float gate[kTokenGroup * kBlockRows];
  alignas(64) float up[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  Prepared prepared;
  const ModelShape& s = *a.shape;
  const ExpertWeights& w = a.experts[expert];
  for (int32_t j = scratch.first[expert]; j < scratch.first[expert + 1]; j += kTokenGroup) {
    const int32_t n = group_size(scratch.first[expert + 1] - j);
    for (int32_t t = 0; t < n; ++t) {
      x[t] = scratch.entered + scratch.pairs[j + t] / s.top_k * activation_stride(s.hidden);
    }
    const bool alike = same_preparation(w.gate, w.up);
    if (alike) Isa::prepare(w.gate, x, n, a.activations, room, &prepared);
    for (int64_t block = run.from; block < run.end; ++block) {
      if (!alike) Isa::prepare(w.gate, x, n, a.activations, room, &prepared);
      Isa::product(w.gate, block, prepared, a.activations, gate);
      if (!alike) Isa::prepare(w.up, x, n, a.activations, room, &prepared);
      Isa::product(w.up, block, prepared, a.activations, up);
      join_gate_up(a, scratch, j, n, block * kBlockRows, gate, up);
    }
  }
}

// Some blocks of the output: sums over every expert, ids ascending, then into h.
template <typename Isa>
static inline void down_blocks(const ExpertsArgs<float>& a, const ExpertsScratch& scratch,
                               int32_t n_active, Run run, void* room) {
  alignas(64) float down[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  Prepared prepared;
  const ModelShape& s = *a.shape;
  const int64_t stride = round_up(s.hidden, kBlockRows);
  const int64_t first = run.from * kBlockRows, end = run.end * kBlockRows;
  for (int64_t t = 0; t < a.n_tokens; ++t) {
    for (int64_t i = first; i < end; ++i) scratch.sums[t * stride + i] = 0.0f;
  }
  for (int32_t e = 0; e < n_active; ++e) {
    const int32_t expert = scratch.active[e];
    const Matrix& w = a.experts[expert].down;
    for (int32_t j = scratch.first[expert]; j < scratch.first[expert + 1]; j += kTokenGroup) {
      const int32_t n = group_size(scratch.first[expert + 1] - j);
      for (int32_t t = 0; t < n; ++t) {
        x[t] = scratch.inner + (j + t) * activation_stride(s.intermediate);
      }
      Isa::prepare(w, x, n, a.activations, room, &prepared);
      for (int64_t block = run.from; block < run.end; ++block) {
        Isa::product(w, block, prepared, a.activations, down);
        for (int32_t t = 0; t < n; ++t) {
          const int32_t pair = scratch.pairs[j + t];
          float* sum = scratch.sums + pair / s.top_k * stride + block * kBlockRows;
          const float weight = a.weights[pair];
          for (int64_t i = 0; i < kBlockRows; ++i) sum[i] += weight * down[t * kBlockRows + i];
        }
      }
    }
  }
  for (int64_t t = 0; t < a.n_tokens; ++t) {
    const float* sums = scratch.sums + t * stride;
    float* h = a.h + t * s.hidden;
    for (int64_t i = first; i < end && i < s.hidden; ++i) h[i] += sums[i];
  }
}

template <typename Isa>
static inline void experts(const Executor* run, const ExpertsArgs<float>* a) {
  const ModelShape& s = *a->shape;
  const ExpertsScratch scratch = cut_experts_scratch(s, a->n_tokens, run->n_workers, a->scratch);
  const int32_t n_active = sort_by_expert(*a, scratch);
  enter_rows(run, a->x, a->n_tokens, s.hidden, a->activations, scratch.entered);

  // Whole experts where there are enough of them, else parts: about eight tasks for each worker.
  const int64_t blocks = n_blocks(s.intermediate);
  const int64_t wanted = (8 * int64_t{run->n_workers} + n_active - 1) / n_active;
  const int64_t per_task = (blocks + wanted - 1) / wanted;
  const int64_t parts = (blocks + per_task - 1) / per_task;
  run_tasks(run, n_active * parts, [&](int32_t task, int32_t worker) {
    const int64_t from = task % parts * per_task;
    const int64_t end = from + per_task < blocks ? from + per_task : blocks;
    gate_up_blocks<Isa>(*a, scratch, scratch.active[task / parts], {from, end},
                        scratch.rooms + worker * scratch.room);
  });

  const BlockRuns runs(n_blocks(s.hidden), run->n_workers);
  run_tasks(run, runs.n_tasks, [&](int32_t task, int32_t worker) {
    down_blocks<Isa>(*a, scratch, n_active, {runs.first(task), runs.end(task)},
                     scratch.rooms + worker * scratch.room);
  });
}

static inline int64_t experts_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers) {
  return cut_experts_scratch(s, max_tokens, n_workers, nullptr).bytes;
}

}  // namespace mm2::kernels::common
