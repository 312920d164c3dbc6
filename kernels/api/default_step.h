// The forward pass of one step as a walk over the operations, in the order of the model card. A
// backend's `step` is this template over its own table, unless it can do better.
#pragma once

#include "kernels/api/backend.h"

namespace mm2::kernels {

/// The buffers of a step, carved from StepPlan::scratch.
template <typename Real>
struct StepBuffers {
  Real* h;        // [n_tokens, hidden] residual stream
  Real* x;        // [n_tokens, hidden] after a norm
  Real* rope;     // [n_tokens, rotary_dim]
  Real* q;        // [n_tokens, n_heads * head_dim]
  Real* kv_work;  // [n_tokens, 2 * n_kv_heads * head_dim]
  Real* attn;     // [n_tokens, n_heads * head_dim]
  int32_t* ids;   // [n_tokens, top_k]
  Real* weights;  // [n_tokens, top_k]
  Real* outputs;  // [n_outputs, hidden] rows that want logits
  Real* logits;   // [n_outputs, n_vocab], only where Real is not float
  void* op_scratch;
  int64_t bytes;  // of all of it
};

template <typename Real>
static inline StepBuffers<Real> carve_step_buffers(const Ops<Real>& ops, const ModelShape& s,
                                                   int32_t n_tokens, int32_t n_outputs,
                                                   int32_t n_workers, void* base) {
  StepBuffers<Real> b{};
  char* at = static_cast<char*>(base);
  const auto take = [&](int64_t n_bytes) {
    char* here = at == nullptr ? nullptr : at + b.bytes;
    b.bytes += (n_bytes + 63) / 64 * 64;
    return here;
  };
  const auto reals = [&](int64_t rows, int64_t width) {
    return reinterpret_cast<Real*>(take(rows * width * int64_t{sizeof(Real)}));
  };
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t kv_width = int64_t{s.n_kv_heads} * s.head_dim;
  b.h = reals(n_tokens, s.hidden);
  b.x = reals(n_tokens, s.hidden);
  b.rope = reals(n_tokens, s.rotary_dim);
  b.q = reals(n_tokens, q_width);
  b.kv_work = reals(n_tokens, 2 * kv_width);
  b.attn = reals(n_tokens, q_width);
  b.ids = reinterpret_cast<int32_t*>(take(int64_t{n_tokens} * s.top_k * 4));
  b.weights = reals(n_tokens, s.top_k);
  b.outputs = reals(n_outputs, s.hidden);
  b.logits = sizeof(Real) == sizeof(float) ? nullptr : reals(n_outputs, s.n_vocab);
  b.op_scratch =
      take(ops.scratch_bytes(&s, n_tokens > n_outputs ? n_tokens : n_outputs, n_workers));
  return b;
}

/// Bytes of StepPlan::scratch for the default step: exact for these limits, monotone in each.
template <typename Real>
static inline int64_t default_scratch_bytes(const Ops<Real>& ops, const ModelShape& shape,
                                            int32_t max_tokens, int32_t max_outputs,
                                            int32_t n_workers) {
  return carve_step_buffers(ops, shape, max_tokens, max_outputs, n_workers, nullptr).bytes;
}

namespace detail {

template <typename Real>
constexpr int32_t number_of = sizeof(Real) == 4 ? kF32 : kF64;

template <typename Real>
static inline void show(const StepPlan& plan, const char* name, int32_t layer, const Real* values,
                        int64_t rows, int64_t width) {
  if (plan.observer == nullptr) return;
  plan.observer->see(plan.observer->self, name, layer, values, number_of<Real>, rows, width);
}

template <typename Real>
static inline void attention_half(const Ops<Real>& ops, const StepPlan& plan, StepBuffers<Real>& b,
                                  int32_t layer) {
  const ModelShape& s = *plan.shape;
  const LayerWeights& w = plan.weights->layers[layer];
  const Executor* run = plan.executor;
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;

  const RmsNormArgs<Real> norm{b.h, w.input_norm, s.rms_norm_eps, plan.n_tokens, s.hidden, b.x};
  ops.rms_norm(run, &norm);
  const QkvArgs<Real> qkv{&s,       b.x,    &w.q,      &w.k,        &w.v,          w.q_norm,
                          w.k_norm, b.rope, plan.rows, plan.n_rows, plan.n_tokens, plan.activations,
                          plan.kv,  layer,  b.q,       b.kv_work,   b.op_scratch};
  ops.qkv(run, &qkv);
  show(plan, "q_rope", layer, b.q, plan.n_tokens, q_width);
  show(plan, "kv", layer, b.kv_work, plan.n_tokens, 2 * int64_t{s.n_kv_heads} * s.head_dim);
  // Attention multiplies by the cache, not by integers.
  const int32_t numbers = plan.activations == kI8 ? int32_t{kBF16} : plan.activations;
  const AttentionArgs<Real> attention{&s,      b.q,     plan.rows, plan.n_rows, plan.n_tokens,
                                      numbers, plan.kv, layer,     b.attn,      b.op_scratch};
  ops.attention(run, &attention);
  show(plan, "attn_out", layer, b.attn, plan.n_tokens, q_width);
  const LinearArgs<Real> o{b.attn, &w.o, b.h, plan.n_tokens, plan.activations, b.h, b.op_scratch};
  ops.linear(run, &o);
}

template <typename Real>
static inline void experts_half(const Ops<Real>& ops, const StepPlan& plan, StepBuffers<Real>& b,
                                int32_t layer) {
  const ModelShape& s = *plan.shape;
  const LayerWeights& w = plan.weights->layers[layer];
  const Executor* run = plan.executor;

  const RmsNormArgs<Real> norm{b.h, w.post_attention_norm, s.rms_norm_eps, plan.n_tokens, s.hidden,
                               b.x};
  ops.rms_norm(run, &norm);
  show(plan, "expert_in", layer, b.x, plan.n_tokens, s.hidden);
  const RouterArgs<Real> router{&s,    b.x,       &w.router,   w.router_bias, plan.n_tokens,
                                b.ids, b.weights, b.op_scratch};
  ops.router(run, &router);
  if (plan.observer != nullptr) {
    plan.observer->see(plan.observer->self, "topk_ids", layer, b.ids, kI32, plan.n_tokens, s.top_k);
  }
  show(plan, "topk_weights", layer, b.weights, plan.n_tokens, s.top_k);
  const ExpertsArgs<Real> experts{
      &s, b.x, w.experts, b.ids, b.weights, plan.n_tokens, plan.activations, b.h, b.op_scratch};
  ops.experts(run, &experts);
}

/// A row is done when the residual stream of its tokens holds only finite numbers: x - x is 0 only
/// for those.
template <typename Real>
static inline void judge_rows(const StepPlan& plan, const Real* h) {
  for (int32_t r = 0; r < plan.n_rows; ++r) {
    const StepRow& row = plan.rows[r];
    const int64_t hidden = plan.shape->hidden;
    const Real* from = h + row.first_token * hidden;
    bool finite = true;
    for (int64_t i = 0; i < row.n_tokens * hidden; ++i) finite &= from[i] - from[i] == Real{0};
    plan.row_results[r] = finite ? kRowDone : kRowNotFinite;
  }
}

template <typename Real>
static inline void compute_logits(const Ops<Real>& ops, const StepPlan& plan,
                                  StepBuffers<Real>& b) {
  const ModelShape& s = *plan.shape;
  int64_t out = 0;
  for (int32_t r = 0; r < plan.n_rows; ++r) {
    const StepRow& row = plan.rows[r];
    const int64_t first = int64_t{row.first_token} + row.n_tokens - row.n_outputs;
    for (int64_t i = 0; i < int64_t{row.n_outputs} * s.hidden; ++i) {
      b.outputs[out * s.hidden + i] = b.h[first * s.hidden + i];
    }
    out += row.n_outputs;
  }
  const RmsNormArgs<Real> norm{
      b.outputs, plan.weights->final_norm, s.rms_norm_eps, plan.n_outputs, s.hidden, b.outputs};
  ops.rms_norm(plan.executor, &norm);
  show(plan, "final_norm", -1, b.outputs, plan.n_outputs, s.hidden);
  Real* logits = b.logits;
  if constexpr (sizeof(Real) == sizeof(float)) logits = plan.logits;
  const LinearArgs<Real> head{b.outputs,      &plan.weights->lm_head, nullptr,
                              plan.n_outputs, plan.activations,       logits,
                              b.op_scratch};
  ops.linear(plan.executor, &head);
  if constexpr (sizeof(Real) != sizeof(float)) {
    for (int64_t i = 0; i < int64_t{plan.n_outputs} * s.n_vocab; ++i) {
      plan.logits[i] = static_cast<float>(logits[i]);
    }
  }
}

}  // namespace detail

template <typename Real>
static inline int32_t default_step(const Ops<Real>& ops, const StepPlan& plan) {
  const ModelShape& s = *plan.shape;
  StepBuffers<Real> b = carve_step_buffers(ops, s, plan.n_tokens, plan.n_outputs,
                                           plan.executor->n_workers, plan.scratch);
  const EmbedArgs<Real> embed{&plan.weights->embedding, plan.tokens, plan.n_tokens, b.h};
  ops.embed(plan.executor, &embed);
  const RopeTableArgs<Real> rope{plan.positions, plan.n_tokens, s.rotary_dim, s.rope_theta, b.rope};
  ops.rope_table(plan.executor, &rope);
  detail::show(plan, "hidden", 0, b.h, plan.n_tokens, s.hidden);
  for (int32_t layer = 0; layer < s.n_layers; ++layer) {
    if (plan.interrupted != nullptr && plan.interrupted(plan.interrupted_self) != 0) {
      return kStepInterrupted;
    }
    detail::attention_half(ops, plan, b, layer);
    detail::experts_half(ops, plan, b, layer);
    detail::show(plan, "hidden", layer + 1, b.h, plan.n_tokens, s.hidden);
  }
  detail::judge_rows(plan, b.h);
  if (plan.logits != nullptr && plan.n_outputs > 0) detail::compute_logits(ops, plan, b);
  return kStepDone;
}

}  // namespace mm2::kernels
