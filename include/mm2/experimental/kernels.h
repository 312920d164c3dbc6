/* mm2/experimental/kernels.h: the operations of a layer, each alone, on the caller's arrays: for
 * experiments, comparisons and teaching.
 *
 * No promise: functions named mm2x_ may change or go with any version. They are in the static library
 * only (mm2::static), not in libmm2.so. MM2X_VERSION counts the changes. The conventions of mm2/abi.h
 * hold otherwise. The source file kernels/api/ops.h tells the order in which each operation adds.
 *
 * Arrays are F32, row after row, without gaps; a function that writes checks every size and pointer
 * first and leaves its outputs alone when it fails. Token ids and expert ids are compared with their
 * ranges; other values are taken as they are. */
#ifndef MM2_EXPERIMENTAL_KERNELS_H
#define MM2_EXPERIMENTAL_KERNELS_H

#include "../engine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MM2X_VERSION 2

/* ---- a backend with threads and working memory ------------------------------------------------- */

typedef struct mm2x_kernels mm2x_kernels;

/* isa: MM2_ISA_*, but for REFERENCE_F64, which has no single operations (UNSUPPORTED). n_threads: 0 =
 * every usable core, at most 1024. out is owned by the caller. */
MM2_API mm2_status mm2x_kernels_create(int32_t isa, int32_t n_threads, mm2x_kernels** out,
                                       mm2_error* err);

/* {"version": MM2X_VERSION, "isa": of this backend, "n_threads", "isas": [names that this machine can
 * run], "operations": [names]} */
MM2_API mm2_status mm2x_kernels_describe(const mm2x_kernels* kernels, mm2_buffer* json,
                                         mm2_error* err);

/* Matrices and caches made with it may outlive it. NULL is fine. */
MM2_API void mm2x_kernels_destroy(mm2x_kernels* kernels);

/* ---- packed weights ---------------------------------------------------------------------------- */

typedef struct mm2x_matrix mm2x_matrix;

/* What a code stands for. */
#define MM2X_PLAIN 0   /* a number, as `number` says */
#define MM2X_INTEGER 1 /* (code - zero) * scale; codes of `bits` bits, zero 2^(bits - 1) if NULL */
#define MM2X_FP8 2     /* E4M3(code) * scale; no code of NaN */
#define MM2X_FP4 3     /* E2M1(code) * scale */

/* How numbers are stored: those of a plain matrix, or the scales of another. */
#define MM2X_F32 0
#define MM2X_BF16 1
#define MM2X_F16 2
#define MM2X_E4M3 4 /* scales of MM2X_FP4 in patches of 16; KV caches */
#define MM2X_E8M0 6 /* scales, powers of two */

typedef struct mm2x_matrix_source {
  uint32_t struct_size;
  int32_t scheme; /* MM2X_PLAIN, ... */
  int32_t number; /* MM2X_F32, ... */
  int32_t bits;   /* MM2X_INTEGER: 4 or 8; else 0 */
  int64_t n_out, n_in;
  int64_t patch_rows, patch_cols; /* elements that share a scale; PLAIN: 0. Columns: 16 (FP4 with
                                     E4M3), else 32, 64, a multiple of 128, or at least n_in */
  const void* codes;              /* [n_out, n_in]; PLAIN: numbers; else one byte for each code */
  const float* scales;  /* [n_out, patches of a row], each exact in `number`; NULL where PLAIN */
  const uint8_t* zeros; /* [n_out, patches of a row] of an INTEGER, or NULL */
} mm2x_matrix_source;

/* As mm2_error_init. */
MM2_API mm2_status mm2x_matrix_source_init(mm2x_matrix_source* source, size_t size);

/* A copy of the matrix as this backend keeps it; it may be used with any other mm2x_kernels of the
 * same ISA. out is owned by the caller. Errors: INVALID_ARGUMENT names the field and the element;
 * UNSUPPORTED for a format without kernels; OUT_OF_MEMORY. */
MM2_API mm2_status mm2x_matrix_pack(const mm2x_kernels* kernels, const mm2x_matrix_source* source,
                                    mm2x_matrix** out, mm2_error* err);

/* n_out, n_in and bytes as packed; any of them may be NULL. */
MM2_API mm2_status mm2x_matrix_get_shape(const mm2x_matrix* matrix, int64_t* n_out, int64_t* n_in,
                                         uint64_t* bytes, mm2_error* err);

/* NULL is fine. */
MM2_API void mm2x_matrix_destroy(mm2x_matrix* matrix);

/* ---- operations ---------------------------------------------------------------------------------
 * `activations`: how x enters a product, MM2_ACTIVATIONS_BF16 (AUTO counts as that), _F32 or _INT8
 * (mm2/engine.h; as BF16 for weights that are no integers, and in attention). */

/* y[t] = row tokens[t] of a table of plain numbers. table: [n_vocab, hidden] of `number`; tokens:
 * [n_tokens]; y: [n_tokens, hidden] */
MM2_API mm2_status mm2x_embed(mm2x_kernels* kernels, const void* table, int32_t number,
                              int32_t n_vocab, int32_t hidden, const int32_t* tokens,
                              int32_t n_tokens, float* y, mm2_error* err);

/* y = x / sqrt(mean(x^2) + eps) * weight. x, y: [n_rows, width], may be the same; weight: [width] */
MM2_API mm2_status mm2x_rms_norm(mm2x_kernels* kernels, const float* x, const float* weight,
                                 float eps, int32_t n_rows, int32_t width, float* y,
                                 mm2_error* err);

/* y = x w^T (+ add). x: [n_tokens, n_in]; add: [n_tokens, n_out] or NULL; y: [n_tokens, n_out], may be
 * add, not x */
MM2_API mm2_status mm2x_linear(mm2x_kernels* kernels, const float* x, const mm2x_matrix* w,
                               const float* add, int32_t n_tokens, int32_t activations, float* y,
                               mm2_error* err);

/* Cosines, then sines of position * theta^(-2 i / rotary_dim). positions: [n_tokens], from 0; table:
 * [n_tokens, rotary_dim]; rotary_dim even */
MM2_API mm2_status mm2x_rope_table(mm2x_kernels* kernels, const int32_t* positions,
                                   int32_t n_tokens, int32_t rotary_dim, double theta, float* table,
                                   mm2_error* err);

/* s = sigmoid(x gate^T); the top_k experts by s + bias, ties to the lower id; weights: their s over the
 * sum. gate: [n_experts, hidden], plain F32; bias: [n_experts]; ids (ascending), weights: [n_tokens,
 * top_k] */
MM2_API mm2_status mm2x_router(mm2x_kernels* kernels, const float* x, const mm2x_matrix* gate,
                               const float* bias, int32_t n_tokens, int32_t top_k, int32_t* ids,
                               float* weights, mm2_error* err);

/* h += sum of weight * down(silu(gate x) * (up x)) over the experts of each token.
 *   gate, up   [n_experts] matrices [intermediate, hidden]
 *   down       [n_experts] matrices [hidden, intermediate]
 *   ids        [n_tokens, top_k], ascending in each row
 *   x, h       [n_tokens, hidden], not the same
 * With one expert, top_k 1 and weights 1 this is a SwiGLU layer. */
MM2_API mm2_status mm2x_experts(mm2x_kernels* kernels, const float* x,
                                const mm2x_matrix* const* gate, const mm2x_matrix* const* up,
                                const mm2x_matrix* const* down, int32_t n_experts,
                                const int32_t* ids, const float* weights, int32_t n_tokens,
                                int32_t top_k, int32_t activations, float* h, mm2_error* err);

typedef struct mm2x_heads {
  uint32_t struct_size;
  int32_t n_heads, n_kv_heads; /* the first a multiple of the second */
  int32_t head_dim;
  int32_t rotary_dim; /* of qkv: even, at most head_dim */
  float eps;          /* of qkv's norms */
  /* Of attention over a cache of MM2X_E4M3: what a stored number of each head is multiplied by,
   * [n_kv_heads], above 0; NULL: 1. */
  const float *k_scales, *v_scales;
} mm2x_heads;

/* As mm2_error_init. */
MM2_API mm2_status mm2x_heads_init(mm2x_heads* heads, size_t size);

/* q, k, v = x w^T; RMS norm of q and of k over their whole width; rotation of the first rotary_dim
 * components of each head, component i with i + rotary_dim / 2.
 *   x          [n_tokens, hidden]
 *   q, k, v    [n_heads * head_dim, hidden], [n_kv_heads * head_dim, hidden] twice
 *   norms      [n_heads * head_dim], [n_kv_heads * head_dim]
 *   rope       [n_tokens, rotary_dim] of mm2x_rope_table
 *   q_out      [n_tokens, n_heads * head_dim]
 *   kv_out     [n_tokens, 2, n_kv_heads * head_dim]: k, then v */
MM2_API mm2_status mm2x_qkv(mm2x_kernels* kernels, const float* x, const mm2x_matrix* q,
                            const mm2x_matrix* k, const mm2x_matrix* v, const float* q_norm,
                            const float* k_norm, const float* rope, const mm2x_heads* heads,
                            int32_t n_tokens, int32_t activations, float* q_out, float* kv_out,
                            mm2_error* err);

/* y = softmax(q k^T / sqrt(head_dim)) v, each query over the positions up to its own. Keys and values
 * are rounded to `number` first, as a KV cache of that kind holds them: MM2X_F32, _BF16, or _E4M3 of
 * x / scale, saturating at 448.
 *   q, y   [n_tokens, n_heads, head_dim], at the last n_tokens of the positions
 *   k, v   [n_positions, n_kv_heads, head_dim]; query head j reads head j / (n_heads / n_kv_heads) */
MM2_API mm2_status mm2x_attention(mm2x_kernels* kernels, const float* q, const float* k,
                                  const float* v, const mm2x_heads* heads, int32_t n_tokens,
                                  int32_t n_positions, int32_t number, int32_t activations,
                                  float* y, mm2_error* err);

#ifdef __cplusplus
}
#endif
#endif
