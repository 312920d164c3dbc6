// The words that kernels and their callers share: plain structs, nothing but stdint.
#pragma once

#include <stdint.h>

#include "kernels/api/host_device.h"

namespace mm2::kernels {

/// How one number is stored; kI8 is how an activation enters a product: ops.h.
enum Number : int32_t {
  kF32 = 0,
  kBF16 = 1,
  kF16 = 2,
  kF64 = 3,
  kE4M3 = 4,
  kI32 = 5,
  kE8M0 = 6,
  kI8 = 7
};

/// What a code means.
enum Scheme : int32_t {
  kPlain = 0,    // the number itself, stored as Format::number
  kInteger = 1,  // (code - zero) * scale; unsigned codes of Format::bits
  kFp8 = 2,      // e4m3(code) * scale; never the codes of NaN
  kFp4 = 3,      // e2m1(code) * scale
};

/// How the codes of a matrix give its numbers. A patch of [patch_rows, patch_cols], counted from
/// the first row and column, shares a scale and a zero; the last one of a row or column may be cut.
/// Which combinations exist: is_format in kernels/api/format.h.
struct Format {
  int32_t scheme;
  int32_t number;   // of the matrix where kPlain, else of the scales: every one is exact in it
  int32_t bits;     // kInteger: 4 or 8
  int32_t zeros;    // kInteger: 1 = every patch has its zero, 0 = 2^(bits - 1)
  int32_t ordered;  // 1 = columns are kept in another order than the activations'
  int64_t patch_rows, patch_cols;
};

MM2_HD constexpr Format plain(int32_t number) {
  return {kPlain, number, 0, 0, 0, 0, 0};
}

/// Fixed block of positions at which attention splits its sums; a KV block holds a multiple of it.
constexpr int32_t kAttentionBlock = 64;

/// How the codes of MatrixRows lie.
enum CodeLayout : int32_t {
  kByteEach = 0,        // a byte for each code, rows without gaps
  kNibblesOfRows = 1,   // nibble t of dword [row, k] is column 8 k + t of the row
  kNibblesOfWords = 2,  // nibble t of dword [k, row] is column 8 k + t of the row: GPTQ
  kNibblesOfEight =
      3  // nibble {0,4,1,5,2,6,3,7}[j] of dword [k, r] is column k of row 8 r + j: AWQ
};

/// Rows [first_row, first_row + n_rows) of a matrix [n_out, n_in], on their way into a packed one.
struct MatrixRows {
  Format format;
  int64_t n_out, n_in;
  int64_t first_row, n_rows;
  // [n_rows, n_in]; kPlain: numbers as the checkpoint stores them, any alignment; else one byte for
  // each code
  const void* codes;
  const float* scales;   // [n_rows, n_patches(n_in)], null where kPlain
  const uint8_t* zeros;  // [n_rows, n_patches(n_in)] where Format::zeros, else null
  const int32_t* order;  // [n_in] where Format::ordered: column i meets activation order[i]
  int32_t code_layout = kByteEach;
  int64_t code_stride = 0;  // not kByteEach: dwords from the first index above to its next
  // not kByteEach, kFp4 with scales of kE4M3: [n_rows, n_patches] as stored, 0x01 to 0x7E; no `scales`
  const uint8_t* scale_codes = nullptr;
};

/// A whole matrix [n_out, n_in] in the layout of the backend that packed it. What it stands for is
/// output_scale times the numbers of the format, or those divided by it.
struct Matrix {
  Format format;
  int64_t n_out, n_in;
  const void* data;  // 64-byte aligned, or aligned to one number where it keeps the file's layout
  float output_scale = 1;
  int32_t output_divides = 0;
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
  int32_t number;        // kF32, kBF16, kE4M3; kF64 in the reference
  // kE4M3: [n_layers, n_kv_heads], a stored code times its scale is the number; else null
  const float* k_scales = nullptr;
  const float* v_scales = nullptr;
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
