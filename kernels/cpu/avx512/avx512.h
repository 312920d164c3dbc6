// The operations of this backend. What each computes, and the shapes, stand in kernels/api/ops.h.
// `pairs`: the way in which products are computed (product.h).
#pragma once

#include "kernels/api/backend.h"

namespace mm2::kernels::avx512 {

void pack(const MatrixRows*, void* packed);
/// Of rows that are not kByteEach (Backend::code_layouts): the codes; the scales and zeros.
void pack_nibbles(const MatrixRows& rows, void* packed);
void pack_scales(const MatrixRows& rows, void* packed);
void embed(const Executor*, const EmbedArgs<float>*);
void rms_norm(const Executor*, const RmsNormArgs<float>*);
void linear(const Executor*, const LinearArgs<float>*, bool pairs);
void rope_table(const Executor*, const RopeTableArgs<float>*);
void qkv(const Executor*, const QkvArgs<float>*, bool pairs);
void attention(const Executor*, const AttentionArgs<float>*);
void router(const Executor*, const RouterArgs<float>*);
void experts(const Executor*, const ExpertsArgs<float>*, bool pairs);

// Scratch of each operation, in bytes; each grows with max_tokens and n_workers.
int64_t linear_scratch(const ModelShape& s, int64_t max_tokens);
int64_t qkv_scratch(const ModelShape& s, int64_t max_tokens);
int64_t router_scratch(const ModelShape& s, int64_t max_tokens);
int64_t experts_scratch(const ModelShape& s, int64_t max_tokens, int64_t n_workers);

}  // namespace mm2::kernels::avx512
