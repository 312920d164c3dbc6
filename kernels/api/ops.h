// The operations of an M2 layer, each callable alone. kernels/ref is their specification.
//
// Real is the type of activations between operations: float, or double in the FP64 reference.
// `activations` is how an activation enters a product with a weight matrix: kBF16 (rounded to
// nearest even first), kF32, kI8 (below), or kF64 (reference); products are accumulated in Real. No
// operation allocates; `scratch` has Ops::scratch_bytes bytes.
//
// kI8: where weights are integers (kInteger) the activations of a row become integers too, for each
// 128 columns, counted from the first (of the packed ones), with a scale of their own:
//   size = the greatest magnitude of them; code = x * (127 / size) to nearest even; scale = size / 127
//   (each operation rounded to float). Below kLeastInt8 the scale and the codes are 0; where one of
//   them is not finite the scale is NaN, and so are all outputs of the row.
// An activation is off by half a scale at most: size / 254. Other weights take kBF16 then.
//
// Invariance: each output row depends on its own input row alone, in an order of additions fixed by
// the shapes: not by n_tokens, the position of the row in the batch, or the number of workers.
//
// Order of additions, the same in every FP32 backend; the reference keeps it in products and
// experts, adds the rest in plain ascending order and calls the C library:
//   products with weights: chains from +0; pairs of k ascending, in a pair the odd k first (what
//     vdpbf16ps does); each product is rounded to Real, then added. Of two 16-bit numbers it is
//     exact, so a fused multiply-add gives the same bits.
//     plain weights, and codes that hold their scale (format.h): one chain over the whole row
//     others: a chain for each sum_group columns of its codes (kInteger: code - 2^(bits - 1)), then
//       y += scale * chain, groups ascending, product and sum each rounded. With zeros the codes
//       count from 0 and the chain starts at -(zero * s), s = the group's x added up like products.
//     ordered: k counts the packed columns
//     kI8: for each sum_group columns the sum of (code of w - zero) * (code of x), which no float rounds;
//       y += (scale of w * scale of x) * sum, groups ascending, both products and the sum rounded
//     at the end y * output_scale, or y / output_scale, where it is not 1
//   experts: a sum from +0, ids ascending, sum += weight * down; then h += sum
//   rms_norm: squares in 16 lanes (element i in lane i mod 16, ascending), then the lanes in
//     halves: i and i + 8, i and i + 4, i and i + 2, 0 and 1
//   attention: each query (a head of a token) over the 64 positions from each multiple of 64 on:
//       score[p] = chain over pairs of components, like products, * factor
//         factor = log2(e) / sqrt(head_dim) * scale of the keys, in FP64, rounded once
//       greatest' = max(greatest, scores), fade = 2^(greatest - greatest')
//       e[p] = 2^(score[p] - greatest'), at least 2^-64; where products are exact (activations of
//         kBF16, a cache of kBF16 or kE4M3) rounded half up to 16 or 20 significant bits
//       totals[i] = totals[i] * fade, then + e[p] with p mod 16 = i, ascending
//       y = y * fade, then + e[p] v[p]: pairs of positions ascending, the odd one first
//     These sums begin anew at each multiple of 512 positions. Such a chunk is added to those
//     before it: greatest' of both, y = y * 2^(greatest - greatest') + y_chunk * 2^(greatest_chunk -
//     greatest'), totals likewise. At the end totals are added in halves like squares, and
//     y * (scale of the values / total) is the result.
//     No later position than the query's own reaches it: the cache may hold anything there.
//   exp, 2^x, sine, cosine: of additions and multiplications alone, never the C library's
#pragma once

#include "kernels/api/types.h"

namespace mm2::kernels {

/// y[t] = table[tokens[t]].
template <typename Real>
struct EmbedArgs {
  const Matrix* table;    // [n_vocab, hidden], file layout (row-major, kPlain)
  const int32_t* tokens;  // [n_tokens], each in [0, n_vocab)
  int32_t n_tokens;
  Real* y;  // [n_tokens, hidden]
};

/// y = x / sqrt(mean(x^2) + eps) * weight, for each row. x and y may be the same.
template <typename Real>
struct RmsNormArgs {
  const Real* x;        // [n_rows, width]
  const float* weight;  // [width]
  float eps;
  int32_t n_rows, width;
  Real* y;  // [n_rows, width]
};

/// y = x w^T, plus `add` where given. y may be the same as add, not as x.
template <typename Real>
struct LinearArgs {
  const Real* x;  // [n_tokens, n_in]
  const Matrix* w;
  const Real* add;  // [n_tokens, n_out] or null
  int32_t n_tokens;
  int32_t activations;
  Real* y;  // [n_tokens, n_out]
  void* scratch;
};

/// table[t] = cos(p_t f_0) .. cos(p_t f_{n-1}), sin(p_t f_0) .. sin(p_t f_{n-1}),
/// f_i = theta^(-2i / rotary_dim), n = rotary_dim / 2.
template <typename Real>
struct RopeTableArgs {
  const int32_t* positions;  // [n_tokens]
  int32_t n_tokens, rotary_dim;
  double theta;
  Real* table;  // [n_tokens, rotary_dim]
};

/// q, k, v = x w^T; RMS norm of q and of k over their whole width; rotation of the first rotary_dim
/// components of each head (component i pairs with i + rotary_dim / 2); k and v go into the cache
/// in its number format, q to the caller.
template <typename Real>
struct QkvArgs {
  const ModelShape* shape;
  const Real* x;  // [n_tokens, hidden], after the input norm
  const Matrix *q, *k, *v;
  const float* q_norm;  // [n_heads * head_dim]
  const float* k_norm;  // [n_kv_heads * head_dim]
  const Real* rope;     // [n_tokens, rotary_dim] of RopeTableArgs
  const StepRow* rows;  // [n_rows]
  int32_t n_rows, n_tokens;
  int32_t activations;
  const KvCache* kv;
  int32_t layer;
  Real* q_out;  // [n_tokens, n_heads * head_dim]
  // [n_tokens, 2 * n_kv_heads * head_dim]: k then v of each token, before they are stored
  Real* kv_work;
  void* scratch;
};

/// y = softmax(q k^T / sqrt(head_dim)) v over the sequence's positions up to the token's own; query
/// head j reads KV head j / (n_heads / n_kv_heads). Keys and values are the cache's numbers, times
/// their scale. `activations` kBF16: q is rounded to BF16 before its products, unless the cache is
/// kF32; never kI8.
template <typename Real>
struct AttentionArgs {
  const ModelShape* shape;
  const Real* q;  // [n_tokens, n_heads * head_dim]
  const StepRow* rows;
  int32_t n_rows, n_tokens;
  int32_t activations;
  const KvCache* kv;
  int32_t layer;
  Real* y;  // [n_tokens, n_heads * head_dim]
  void* scratch;
};

/// s = sigmoid(x gate^T); the top_k experts by s + bias, ties to the lower id; weights = s of the
/// selected over their sum. x is never rounded here.
template <typename Real>
struct RouterArgs {
  const ModelShape* shape;
  const Real* x;       // [n_tokens, hidden]
  const Matrix* gate;  // [n_experts, hidden], kF32
  const float* bias;   // [n_experts]
  int32_t n_tokens;
  int32_t* ids;   // [n_tokens, top_k], ascending
  Real* weights;  // [n_tokens, top_k], beside their ids
  void* scratch;
};

/// w1, w3, w2 of one expert: down(silu(gate x) * (up x)).
struct ExpertWeights {
  Matrix gate, up, down;
};

/// h += sum over the selected experts, in ascending id, of weight * down(silu(gate x) * (up x)).
template <typename Real>
struct ExpertsArgs {
  const ModelShape* shape;
  const Real* x;                 // [n_tokens, hidden]
  const ExpertWeights* experts;  // [n_experts]
  const int32_t* ids;            // [n_tokens, top_k], ascending
  const Real* weights;           // [n_tokens, top_k]
  int32_t n_tokens;
  int32_t activations;
  Real* h;  // [n_tokens, hidden]
  void* scratch;
};

/// The table of operations of one backend.
template <typename Real>
struct Ops {
  /// Bytes of `scratch` that any operation needs for up to max_tokens tokens of this model on
  /// n_workers workers.
  int64_t (*scratch_bytes)(const ModelShape* shape, int32_t max_tokens, int32_t n_workers);
  void (*embed)(const Executor*, const EmbedArgs<Real>*);
  void (*rms_norm)(const Executor*, const RmsNormArgs<Real>*);
  void (*linear)(const Executor*, const LinearArgs<Real>*);
  void (*rope_table)(const Executor*, const RopeTableArgs<Real>*);
  void (*qkv)(const Executor*, const QkvArgs<Real>*);
  void (*attention)(const Executor*, const AttentionArgs<Real>*);
  void (*router)(const Executor*, const RouterArgs<Real>*);
  void (*experts)(const Executor*, const ExpertsArgs<Real>*);
};

}  // namespace mm2::kernels
