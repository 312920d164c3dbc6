#include <math.h>

#include "kernels/ref/numbers.h"
#include "kernels/ref/ops.h"

namespace mm2::kernels::ref {
namespace {

// Component i of each head pairs with i + rotary_dim / 2; the others pass through.
template <typename Real>
void rotate(const ModelShape& shape, const Real* rope, int32_t n_heads, Real* heads) {
  const int32_t half = shape.rotary_dim / 2;
  for (int32_t h = 0; h < n_heads; ++h) {
    Real* x = heads + int64_t{h} * shape.head_dim;
    for (int32_t i = 0; i < half; ++i) {
      const Real cosine = rope[i];
      const Real sine = rope[half + i];
      const Real a = x[i];
      const Real b = x[i + half];
      x[i] = a * cosine - b * sine;
      x[i + half] = b * cosine + a * sine;
    }
  }
}

template <typename Real>
void norm_and_rotate(const ModelShape& shape, const float* weight, const Real* rope,
                     int32_t n_heads, Real* x) {
  const RmsNormArgs<Real> norm{x, weight, shape.rms_norm_eps, 1, n_heads * shape.head_dim, x};
  rms_norm<Real>(nullptr, &norm);
  rotate(shape, rope, n_heads, x);
}

}  // namespace

int64_t kv_element(const ModelShape& shape, const KvCache& kv, const StepRow& row, int32_t layer,
                   int32_t position, int32_t kv_head, bool values) {
  const int64_t block = row.blocks[position / kv.block_size];
  const int64_t bytes = layer * kv.layer_stride + block * kv.block_stride;
  const int64_t in_block =
      (int64_t{kv_head} * 2 + (values ? 1 : 0)) * kv.block_size + position % kv.block_size;
  return bytes / number_bytes(kv.number) + in_block * shape.head_dim;
}

template <typename Real>
void rope_table(const Executor*, const RopeTableArgs<Real>* args) {
  const int32_t half = args->rotary_dim / 2;
  for (int64_t t = 0; t < args->n_tokens; ++t) {
    Real* row = args->table + t * args->rotary_dim;
    for (int32_t i = 0; i < half; ++i) {
      const double frequency = pow(args->theta, -2.0 * i / args->rotary_dim);
      const double angle = args->positions[t] * frequency;
      row[i] = static_cast<Real>(cos(angle));
      row[half + i] = static_cast<Real>(sin(angle));
    }
  }
}

template <typename Real>
void qkv(const Executor*, const QkvArgs<Real>* args) {
  const ModelShape& shape = *args->shape;
  const int64_t q_width = int64_t{shape.n_heads} * shape.head_dim;
  const int64_t kv_width = int64_t{shape.n_kv_heads} * shape.head_dim;
  for (int32_t r = 0; r < args->n_rows; ++r) {
    const StepRow& row = args->rows[r];
    for (int32_t i = 0; i < row.n_tokens; ++i) {
      const int64_t t = row.first_token + i;
      const Real* x = args->x + t * shape.hidden;
      const Real* rope = args->rope + t * shape.rotary_dim;
      Real* q = args->q_out + t * q_width;
      Real* k = args->kv_work + t * 2 * kv_width;
      Real* v = k + kv_width;
      multiply_row(*args->q, x, args->activations, q);
      multiply_row(*args->k, x, args->activations, k);
      multiply_row(*args->v, x, args->activations, v);
      norm_and_rotate(shape, args->q_norm, rope, shape.n_heads, q);
      norm_and_rotate(shape, args->k_norm, rope, shape.n_kv_heads, k);
      for (int32_t h = 0; h < shape.n_kv_heads; ++h) {
        const int32_t position = row.first_position + i;
        const int64_t k_at = kv_element(shape, *args->kv, row, args->layer, position, h, false);
        const int64_t v_at = kv_element(shape, *args->kv, row, args->layer, position, h, true);
        for (int32_t d = 0; d < shape.head_dim; ++d) {
          store(args->kv->data, args->kv->number, k_at + d, k[h * shape.head_dim + d]);
          store(args->kv->data, args->kv->number, v_at + d, v[h * shape.head_dim + d]);
        }
      }
    }
  }
}

template void rope_table<float>(const Executor*, const RopeTableArgs<float>*);
template void rope_table<double>(const Executor*, const RopeTableArgs<double>*);
template void qkv<float>(const Executor*, const QkvArgs<float>*);
template void qkv<double>(const Executor*, const QkvArgs<double>*);

}  // namespace mm2::kernels::ref
