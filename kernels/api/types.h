// The words that kernels and their callers share: plain structs, nothing but stdint.
#pragma once

#include <stdint.h>

namespace mm2::kernels {

/// How one number is stored.
enum Number : int32_t { kF32 = 0, kBF16 = 1, kF16 = 2, kF64 = 3, kE4M3 = 4, kI32 = 5 };

/// How the codes of a matrix give its numbers. kPlain: each code is the number, stored as `number`
/// says.
enum Scheme : int32_t { kPlain = 0 };

/// Fixed block of positions at which attention splits its sums; a KV block holds a multiple of it.
constexpr int32_t kAttentionBlock = 64;

/// Rows [first_row, first_row + n_rows) of a matrix [n_out, n_in], as the checkpoint stores them.
struct MatrixRows {
  int32_t scheme, number;
  int64_t n_out, n_in;
  int64_t first_row, n_rows;
  const void* codes;  // [n_rows, n_in], alignment of one byte
};

/// A whole matrix [n_out, n_in] in the layout of the backend that packed it.
struct Matrix {
  int32_t scheme, number;
  int64_t n_out, n_in;
  const void* data;  // 64-byte aligned, or aligned to one number where it keeps the file's layout
};

/// Runs task(context, i, worker) for each i in [0, n_tasks) and returns when all have; worker is in
/// [0, n_workers).
struct Executor {
  void* self;
  int32_t n_workers;
  void (*parallel_for)(void* self, int32_t n_tasks, void (*task)(void*, int32_t, int32_t),
                       void* context);
};

/// The sizes of a model, named as in docs/glossary.md.
struct ModelShape {
  int32_t n_layers, hidden, n_heads, n_kv_heads, head_dim, rotary_dim, n_experts, top_k,
      intermediate, n_vocab;
  float rms_norm_eps;
  double rope_theta;
};

/// One engine's pool of keys and values. What lies inside a block is the backend's business
/// (Backend::kv_block_bytes).
struct KvCache {
  void* data;            // layer l, block b at data + l * layer_stride + b * block_stride
  int64_t layer_stride;  // bytes
  int64_t block_stride;  // bytes
  int32_t block_size;    // positions in a block, a multiple of kAttentionBlock
  int32_t number;        // kF32, kBF16; kF64 in the reference
};

/// The tokens of one sequence in a step. They are consecutive in the step's token array.
struct StepRow {
  int32_t first_token;     // index into StepPlan::tokens
  int32_t n_tokens;        // >= 1
  int32_t first_position;  // tokens already in the cache
  int32_t n_outputs;       // the last n_outputs tokens want logits
  const int32_t* blocks;   // block numbers covering first_position + n_tokens positions
};

}  // namespace mm2::kernels
