// The operations of this backend. What each computes, and the shapes, stand in kernels/api/ops.h.
#pragma once

#include "kernels/api/backend.h"

namespace mm2::kernels::generic {

void embed(const Executor*, const EmbedArgs<float>*);
void rms_norm(const Executor*, const RmsNormArgs<float>*);
void linear(const Executor*, const LinearArgs<float>*);
void rope_table(const Executor*, const RopeTableArgs<float>*);
void qkv(const Executor*, const QkvArgs<float>*);
void attention(const Executor*, const AttentionArgs<float>*);
void router(const Executor*, const RouterArgs<float>*);
void experts(const Executor*, const ExpertsArgs<float>*);

/// One row of rms_norm; x and y may be the same. The squares are added in 16 lanes (element i in
/// lane i mod 16, ascending), the lanes in halves: i + (i + 8), i + (i + 4), ...
void rms_norm_row(const float* x, const float* weight, float eps, int64_t width, float* y);

// Scratch of each operation, in bytes; each grows with max_tokens and n_workers.
int64_t linear_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers);
int64_t attention_scratch(const ModelShape& s, int64_t n_workers);
int64_t router_scratch(const ModelShape& s, int64_t max_tokens);
int64_t experts_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers);

}  // namespace mm2::kernels::generic
