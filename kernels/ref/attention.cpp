#include <math.h>

#include "kernels/ref/numbers.h"
#include "kernels/ref/ops.h"

namespace mm2::kernels::ref {
namespace {

// One query head of one token: online softmax over blocks of kAttentionBlock absolute positions.
template <typename Real>
void attend(const AttentionArgs<Real>& args, const StepRow& row, int32_t position, int32_t head,
            const Real* q, Real* y) {
  const ModelShape& shape = *args.shape;
  const int32_t kv_head = head / (shape.n_heads / shape.n_kv_heads);
  const Real scale = Real{1} / sqrt(static_cast<Real>(shape.head_dim));
  Real greatest = 0;
  Real total = 0;
  for (int32_t d = 0; d < shape.head_dim; ++d) y[d] = 0;
  for (int32_t first = 0; first <= position; first += kAttentionBlock) {
    const int32_t n =
        position + 1 - first < kAttentionBlock ? position + 1 - first : kAttentionBlock;
    Real scores[kAttentionBlock];
    Real block_greatest = 0;
    for (int32_t p = 0; p < n; ++p) {
      const int64_t k = kv_element(shape, *args.kv, row, args.layer, first + p, kv_head, false);
      Real dot = 0;
      for (int32_t d = 0; d < shape.head_dim; ++d) {
        dot += q[d] * load<Real>(args.kv->data, args.kv->number, k + d);
      }
      scores[p] = dot * scale;
      if (p == 0 || scores[p] > block_greatest) block_greatest = scores[p];
    }
    if (first == 0 || block_greatest > greatest) {
      const Real shrink = first == 0 ? Real{0} : exp(greatest - block_greatest);
      total *= shrink;
      for (int32_t d = 0; d < shape.head_dim; ++d) y[d] *= shrink;
      greatest = block_greatest;
    }
    for (int32_t p = 0; p < n; ++p) {
      const Real weight = exp(scores[p] - greatest);
      total += weight;
      const int64_t v = kv_element(shape, *args.kv, row, args.layer, first + p, kv_head, true);
      for (int32_t d = 0; d < shape.head_dim; ++d) {
        y[d] += weight * load<Real>(args.kv->data, args.kv->number, v + d);
      }
    }
  }
  for (int32_t d = 0; d < shape.head_dim; ++d) y[d] /= total;
}

}  // namespace

template <typename Real>
void attention(const Executor*, const AttentionArgs<Real>* args) {
  const ModelShape& shape = *args->shape;
  for (int32_t r = 0; r < args->n_rows; ++r) {
    const StepRow& row = args->rows[r];
    for (int32_t i = 0; i < row.n_tokens; ++i) {
      for (int32_t h = 0; h < shape.n_heads; ++h) {
        const int64_t at = ((int64_t{row.first_token} + i) * shape.n_heads + h) * shape.head_dim;
        attend(*args, row, row.first_position + i, h, args->q + at, args->y + at);
      }
    }
  }
}

template void attention<float>(const Executor*, const AttentionArgs<float>*);
template void attention<double>(const Executor*, const AttentionArgs<double>*);

}  // namespace mm2::kernels::ref
