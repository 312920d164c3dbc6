#pragma once

#include "kernels/api/math.h"
#include "kernels/cpu/common/activations.h"

namespace mm2::kernels::common {

struct RouterScratch {
  float* entered;  // [n_tokens, activation_stride(hidden)]
  float* scores;   // [n_tokens, n_experts]
  int64_t bytes;
};

static inline RouterScratch cut_router_scratch(const ModelShape& s, int64_t n_tokens, void* base) {
  Cutter cut{static_cast<char*>(base)};
  RouterScratch scratch{};
  scratch.entered = cut.take<float>(n_tokens * activation_stride(s.hidden));
  scratch.scores = cut.take<float>(n_tokens * s.n_experts);
  scratch.bytes = cut.bytes;
  return scratch;
}

// 64 experts for every token.
template <typename Isa>
static inline void score_block(const RouterArgs<float>& a, const RouterScratch& scratch,
                               int64_t block) {
  alignas(64) float sums[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  Prepared prepared;
  const int64_t n_experts = a.shape->n_experts;
  const int64_t first = block * kBlockRows;
  const int64_t n_rows = n_experts - first < kBlockRows ? n_experts - first : kBlockRows;
  for (int64_t t0 = 0; t0 < a.n_tokens; t0 += kTokenGroup) {
    const int32_t n = group_size(a.n_tokens - t0);
    for (int32_t t = 0; t < n; ++t) {
      x[t] = scratch.entered + (t0 + t) * activation_stride(a.shape->hidden);
    }
    Isa::prepare(*a.gate, x, n, kF32, nullptr, &prepared);
    Isa::product(*a.gate, block, prepared, kF32, sums);
    for (int32_t t = 0; t < n; ++t) {
      float* scores = scratch.scores + (t0 + t) * n_experts + first;
      for (int64_t i = 0; i < n_rows; ++i) scores[i] = sigmoid_f32(sums[t * kBlockRows + i]);
    }
  }
}

// The top_k of score + bias, ids ascending; of equal ones the lower id. Always top_k different ids,
// whatever the numbers are.
static inline void select_experts(const float* scores, const float* bias, int32_t n_experts,
                                  int32_t top_k, int32_t* ids) {
  for (int32_t n = 0; n < top_k; ++n) {
    int32_t best = -1;
    for (int32_t e = 0; e < n_experts; ++e) {
      if (best >= 0 && !(scores[e] + bias[e] > scores[best] + bias[best])) continue;
      bool taken = false;
      for (int32_t i = 0; i < n; ++i) taken |= ids[i] == e;
      if (!taken) best = e;
    }
    int32_t at = n;
    for (; at > 0 && ids[at - 1] > best; --at) ids[at] = ids[at - 1];
    ids[at] = best;
  }
}

template <typename Isa>
static inline void router(const Executor* run, const RouterArgs<float>* a) {
  const ModelShape& s = *a->shape;
  const RouterScratch scratch = cut_router_scratch(s, a->n_tokens, a->scratch);
  enter_rows(run, a->x, a->n_tokens, s.hidden, kF32, scratch.entered);
  run_tasks(run, n_blocks(s.n_experts),
            [&](int32_t block, int32_t) { score_block<Isa>(*a, scratch, block); });
  for (int64_t t = 0; t < a->n_tokens; ++t) {
    const float* scores = scratch.scores + t * s.n_experts;
    int32_t* ids = a->ids + t * s.top_k;
    float* weights = a->weights + t * s.top_k;
    select_experts(scores, a->bias, s.n_experts, s.top_k, ids);
    float sum = 0.0f;
    for (int32_t i = 0; i < s.top_k; ++i) sum += scores[ids[i]];
    for (int32_t i = 0; i < s.top_k; ++i) weights[i] = scores[ids[i]] / sum;
  }
}

static inline int64_t router_scratch(const ModelShape& s, int64_t max_tokens) {
  return cut_router_scratch(s, max_tokens, nullptr).bytes;
}

}  // namespace mm2::kernels::common
