// The operations of an M2 layer as plain loops: the specification that every other backend is tested against.
// One worker, no blocking, sums in the order in which they are written down.
#pragma once

#include "kernels/api/ops.h"

namespace mm2::kernels::ref {

template <typename Real>
void embed(const Executor*, const EmbedArgs<Real>* args);
template <typename Real>
void rms_norm(const Executor*, const RmsNormArgs<Real>* args);
template <typename Real>
void linear(const Executor*, const LinearArgs<Real>* args);
template <typename Real>
void rope_table(const Executor*, const RopeTableArgs<Real>* args);
template <typename Real>
void qkv(const Executor*, const QkvArgs<Real>* args);
template <typename Real>
void attention(const Executor*, const AttentionArgs<Real>* args);
template <typename Real>
void router(const Executor*, const RouterArgs<Real>* args);
template <typename Real>
void experts(const Executor*, const ExpertsArgs<Real>* args);

/// y[0 .. n_out) = w x (+ nothing), x entering as `activations`.
template <typename Real>
void multiply_row(const Matrix& w, const Real* x, int32_t activations, Real* y);

/// The cache address of one KV head's keys (or values) of one position: head_dim numbers in a row.
/// A block is [n_kv_heads][keys, values][block_size][head_dim].
int64_t kv_element(const ModelShape& shape, const KvCache& kv, const StepRow& row, int32_t layer,
                   int32_t position, int32_t kv_head, bool values);

}  // namespace mm2::kernels::ref
