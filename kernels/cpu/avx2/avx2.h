// The operations of this backend. What each computes, and the shapes, stand in kernels/api/ops.h.
#pragma once

#include "kernels/api/backend.h"

namespace mm2::kernels::avx2 {

void pack(const MatrixRows*, void* packed);
void embed(const Executor*, const EmbedArgs<float>*);
void rms_norm(const Executor*, const RmsNormArgs<float>*);
void linear(const Executor*, const LinearArgs<float>*);
void rope_table(const Executor*, const RopeTableArgs<float>*);
void qkv(const Executor*, const QkvArgs<float>*);
void attention(const Executor*, const AttentionArgs<float>*);
void router(const Executor*, const RouterArgs<float>*);
void experts(const Executor*, const ExpertsArgs<float>*);

}  // namespace mm2::kernels::avx2
