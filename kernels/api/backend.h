// A backend: how it packs weights and stores KV blocks, and how it runs one step.
#pragma once

#include "kernels/api/ops.h"

namespace mm2::kernels {

struct LayerWeights {
  const float* input_norm;  // [hidden]
  Matrix q, k, v, o;
  const float* q_norm;               // [n_heads * head_dim]
  const float* k_norm;               // [n_kv_heads * head_dim]
  const float* post_attention_norm;  // [hidden]
  Matrix router;                     // [n_experts, hidden], kF32
  const float* router_bias;          // [n_experts]
  const ExpertWeights* experts;      // [n_experts]
};

struct ModelWeights {
  Matrix embedding;            // [n_vocab, hidden], file layout
  const LayerWeights* layers;  // [n_layers]
  const float* final_norm;     // [hidden]
  Matrix lm_head;              // [n_vocab, hidden]
};

/// How a step's row ended.
enum RowResult : int32_t { kRowDone = 0, kRowNotFinite = 1 };
enum StepResult : int32_t { kStepDone = 0, kStepInterrupted = 1 };

/// Sees intermediate values: tests and experiments. `name` is static; layer is -1 outside the
/// layers.
struct Observer {
  void* self;
  void (*see)(void* self, const char* name, int32_t layer, const void* values, int32_t number,
              int64_t n_rows, int64_t width);
};

/// Everything that one step needs. Built by the engine, the same for every backend.
struct StepPlan {
  const ModelShape* shape;
  const ModelWeights* weights;
  const KvCache* kv;
  const StepRow* rows;       // [n_rows], tokens of row r directly after those of row r - 1
  const int32_t* tokens;     // [n_tokens]
  const int32_t* positions;  // [n_tokens]
  int32_t n_rows, n_tokens, n_outputs;
  int32_t activations;
  float* logits;         // [n_outputs, n_vocab], or null: nobody wants them
  int32_t* row_results;  // [n_rows], a RowResult each
  void* scratch;         // Backend::scratch_bytes, 64-byte aligned
  const Executor* executor;
  int32_t (*interrupted)(void* self);  // asked before each layer; null = never
  void* interrupted_self;
  const Observer* observer;  // null = nobody looks
  int32_t observes_all = 0;  // 0: of the values only topk_ids matter to the observer
};

struct Backend {
  const char* name;
  int32_t real;  // activations between operations: kF32 or kF64

  /// Bytes of a packed matrix, or -1 where this backend cannot hold such weights.
  int64_t (*packed_bytes)(const Format* format, int64_t n_out, int64_t n_in);
  /// Writes some rows into the packed matrix, which is 64-byte aligned, as every matrix that an
  /// operation takes. first_row and n_rows are multiples of pack_rows, but for the last rows. Every byte of the packed blocks that hold these rows is
  /// written, padding included. Different rows may be packed at once from many threads.
  void (*pack)(const MatrixRows* rows, void* packed);
  int32_t pack_rows;
  /// True when pack would only copy plain weights: then the bytes of the file may be used where they
  /// are, if they are aligned to one number.
  bool keeps_file_layout;

  int64_t (*kv_block_bytes)(const ModelShape* shape, int32_t block_size, int32_t number);
  int64_t (*scratch_bytes)(const ModelShape* shape, int32_t max_tokens, int32_t max_outputs,
                           int32_t n_workers);
  int32_t (*step)(const StepPlan* plan);  // a StepResult
  const Ops<float>* ops;                  // null in the FP64 reference

  /// n positions of a sequence, from `first` on, out of the cache and back into it, in an order that
  /// no backend has and every backend knows: [n, n_layers, K or V, n_kv_heads, head_dim] numbers of
  /// the cache. row: its blocks.
  void (*read_positions)(const KvCache* kv, const ModelShape* shape, const StepRow* row,
                         int64_t first, int64_t n, void* to);
  void (*write_positions)(const KvCache* kv, const ModelShape* shape, const StepRow* row,
                          int64_t first, int64_t n, const void* from);

  /// Bits 1 << CodeLayout of the layouts of codes that pack takes beside bytes: where n_rows is a
  /// multiple of pack_rows and n_in one of 128. kFp4 comes in kNibblesOfRows only, ordered columns
  /// in kNibblesOfWords, which stand in their own order then.
  int32_t code_layouts = 0;
};

// The backends that are built into the library.
const Backend* reference_backend();      // kernels/ref: scalar, FP32
const Backend* reference_f64_backend();  // kernels/ref: scalar, FP64 on exact weights
const Backend* generic_backend();        // kernels/cpu/generic
#if defined(__x86_64__)
const Backend* avx2_backend();          // kernels/cpu/avx2, where has_avx2() (cpu_features.h)
const Backend* avx512_backend();        // kernels/cpu/avx512, where has_avx512()
const Backend* avx512_pairs_backend();  // the same with vdpbf16ps, where multiplies_pairs_fast()
#endif

}  // namespace mm2::kernels
