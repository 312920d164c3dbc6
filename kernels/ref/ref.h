// The scalar specification of every operation, for Real = float and double. What each computes, and
// the shapes, stand in kernels/api/ops.h.
#pragma once

#include "kernels/api/backend.h"

namespace mm2::kernels::ref {

template <typename Real>
void embed(const Executor*, const EmbedArgs<Real>*);
template <typename Real>
void rms_norm(const Executor*, const RmsNormArgs<Real>*);
template <typename Real>
void linear(const Executor*, const LinearArgs<Real>*);
template <typename Real>
void rope_table(const Executor*, const RopeTableArgs<Real>*);
template <typename Real>
void qkv(const Executor*, const QkvArgs<Real>*);
template <typename Real>
void attention(const Executor*, const AttentionArgs<Real>*);
template <typename Real>
void router(const Executor*, const RouterArgs<Real>*);
template <typename Real>
void experts(const Executor*, const ExpertsArgs<Real>*);

/// One row of rms_norm; x and y may be the same.
template <typename Real>
void rms_norm_row(const Real* x, const float* weight, float eps, int32_t width, Real* y);

/// Sum over k of w[row, k] * x[k]: pairs of k ascending, in a pair the odd k before the even. x has
/// been entered already, but for kI8, which comes in here.
template <typename Real>
Real dot_row(const Matrix& w, int64_t row, const Real* x, int32_t activations = kF32);

/// x as it enters a product with w, [n]: x itself where nothing is rounded, or by dot_row only, else
/// a copy in `rounded`.
template <typename Real>
const Real* enter_product(const Matrix& w, const Real* x, int64_t n, int32_t activations,
                          Real* rounded);

}  // namespace mm2::kernels::ref
