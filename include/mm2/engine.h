/* mm2/engine.h: buffers and a KV pool around a model. The host decides what runs in each step; the
 * engine checks it, runs it and commits it.
 *
 *   result of mm2_engine_step       engine               sequences        the host
 *   MM2_OK                          usable               batch committed  goes on
 *   KV_EXHAUSTED, CANCELLED         usable               as before        frees, preempts, retries
 *   E_INVALID_ARGUMENT, E_BUSY      usable               as before        corrects the call
 *   E_NUMERIC (without row_status)  usable               as before        drops the request
 *   E_DEVICE                        usable               as before        retries or recreates
 *   E_DEVICE_LOST, E_INTERNAL       queries and destroy  lost             recreates the engine
 *
 * On one backend the logits of a sequence are bit-identical whatever else is in the batch, however
 * its tokens were cut into steps, and with any number of threads. */
#ifndef MM2_ENGINE_H
#define MM2_ENGINE_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mm2_engine mm2_engine;

#define MM2_KV_AUTO 0 /* BF16, or F32 where activations are F32 */
#define MM2_KV_F32 1
#define MM2_KV_BF16 2
#define MM2_KV_FP8 3 /* E4M3 with a scale for each layer and head, see kv_scales */

/* Where the scales of MM2_KV_FP8 come from. */
#define MM2_KV_SCALES_CHECKPOINT 0 /* the engine is refused where the checkpoint has none */
#define MM2_KV_SCALES_ONE 1        /* 1 everywhere: keys and values beyond 448 are cut off */

/* How activations enter a matrix product; sums are F32 always.
 *   INT8   faster and less exact, never chosen by AUTO. Where weights are integers (4 or 8 bits, with
 *          zeros or without) each token's activations become integers of 8 bits with a scale for every
 *          128 columns; sums of products are exact integers then. An activation is off by at most
 *          1/254 of the greatest magnitude among its 128 (0.4 %; docs/benchmarks/cpu.md has what that
 *          does to logits). FP8, FP4, BF16, F16 and F32 weights, and attention, take BF16 as they do
 *          under BF16; the router takes F32 as always. */
#define MM2_ACTIVATIONS_AUTO 0 /* BF16, or F32 for F32 and F16 checkpoints */
#define MM2_ACTIVATIONS_BF16 1
#define MM2_ACTIVATIONS_F32 2
#define MM2_ACTIVATIONS_INT8 3

/* Which kernels of a device run the steps. Each gives a sequence the same bits whatever shares its
 * batch. */
#define MM2_DEVICE_KERNELS_FAST 0
#define MM2_DEVICE_KERNELS_SIMPLE 1 /* the bits of the CPU's kernels: slow, for checking */

typedef struct mm2_engine_options {
  uint32_t struct_size;
  int32_t max_seqs;             /* sequences that hold tokens at once; 0 = 8 */
  int32_t max_tokens_per_step;  /* over all rows of a batch; 0 = 512 */
  int32_t max_outputs_per_step; /* rows of logits; 0 = max_tokens_per_step */
  int64_t kv_tokens;            /* size of the KV pool in tokens, rounded up to blocks;
                                   0 = max_seqs * min(4096, max_positions) */
  int32_t kv_block_size;        /* tokens per block, a multiple of 64; 0 = 64 */
  int32_t kv_dtype;             /* MM2_KV_* */
  int32_t activations;          /* MM2_ACTIVATIONS_* */
  int32_t prefix_cache;         /* MM2_AUTO = MM2_YES: blocks may be found again, mm2/seq.h */
  int32_t n_threads;            /* without an executor; 0 = every usable core; none on a device */
  int32_t kv_scales;            /* MM2_KV_SCALES_*; only MM2_KV_FP8 asks for them */
  const mm2_host* host;         /* NULL = all defaults; copied */
  void* device_stream;          /* the host's cudaStream_t to run on, alive as long as the engine;
                                   NULL = one of the engine's own, and always on the CPU */
  int32_t device_kernels;       /* MM2_DEVICE_KERNELS_*; the CPU has one kind */
  int32_t reserved;             /* 0 */
} mm2_engine_options;

/* Every option as the engine resolved it. Filled by the library. */
typedef struct mm2_engine_info {
  uint32_t struct_size;
  int32_t max_seqs, max_tokens_per_step, max_outputs_per_step;
  int64_t kv_tokens;     /* kv_blocks * kv_block_size */
  int64_t kv_blocks;     /* in the pool */
  int64_t max_positions; /* of one sequence */
  int32_t kv_block_size, kv_dtype, activations, prefix_cache, n_threads;
  int32_t device, isa;
  int32_t n_vocab; /* width of a row of logits */
} mm2_engine_info;

/* Bytes per part. Filled by the library. */
typedef struct mm2_memory {
  uint32_t struct_size, reserved;
  uint64_t host_weights, host_kv, host_buffers; /* weights are the model's, shared by its engines */
  uint64_t device_weights, device_kv, device_buffers; /* 0 on the CPU */
  uint64_t load_peak_host, load_peak_device;          /* the most while the model is loaded */
} mm2_memory;

/* The tokens of one sequence in a step. */
typedef struct mm2_seq_rows {
  int32_t seq_id;         /* chosen by the host: any number from 0 */
  int32_t first_position; /* must equal the length of the sequence */
  int32_t n_tokens;       /* at least 1 */
  int32_t n_outputs;      /* the last n_outputs of them get logits; 0 to n_tokens */
} mm2_seq_rows;

typedef struct mm2_batch {
  uint32_t struct_size;
  int32_t n_seqs;
  const mm2_seq_rows* seqs; /* [n_seqs], each sequence at most once */
  const int32_t* tokens;    /* [n_tokens], row after row, each in [0, n_vocab) */
  int32_t n_tokens;         /* must equal the sum over seqs */
  int32_t reserved;         /* 0 */
} mm2_batch;

/* As mm2_error_init. */
MM2_API mm2_status mm2_engine_options_init(mm2_engine_options* options, size_t size);
MM2_API mm2_status mm2_engine_info_init(mm2_engine_info* info, size_t size);
MM2_API mm2_status mm2_memory_init(mm2_memory* memory, size_t size);
MM2_API mm2_status mm2_batch_init(mm2_batch* batch, size_t size);

/* Bytes that an engine with these options would hold, exact for the same options; the model may be
 * metadata_only. options: NULL = all defaults. Allocates nothing lasting. Errors: INVALID_ARGUMENT
 * for an option out of its range, UNSUPPORTED. */
MM2_API mm2_status mm2_engine_estimate(const mm2_model* model, const mm2_engine_options* options,
                                       mm2_memory* memory, mm2_error* err);

/* Takes all memory and threads that the engine will ever use. The engine holds the model; out is
 * owned by the caller. options: NULL = all defaults. Errors: INVALID_ARGUMENT, UNSUPPORTED,
 * OUT_OF_MEMORY with the estimate's numbers, DEVICE, DEVICE_LOST; nothing is left behind. */
MM2_API mm2_status mm2_engine_create(const mm2_model* model, const mm2_engine_options* options,
                                     mm2_engine** out, mm2_error* err);

/* Copies out the resolved options; info->struct_size must be set. */
MM2_API mm2_status mm2_engine_get_info(const mm2_engine* engine, mm2_engine_info* info,
                                       mm2_error* err);

/* Bytes that the engine and its model hold; memory->struct_size must be set. */
MM2_API mm2_status mm2_engine_get_memory(const mm2_engine* engine, mm2_memory* memory,
                                         mm2_error* err);

/* Runs one batch, which may mix pieces of prompts and single decoded tokens. All of it is committed
 * or nothing is (table above). Allocates nothing.
 *   logits      [sum of n_outputs, n_vocab] F32, in the order of the batch; NULL only if no row
 *               asks
 *   n_logits    floats that logits has room for, at least that product
 *   row_status  [n_seqs] or NULL: MM2_OK or MM2_E_NUMERIC per row
 * A row whose values are not finite stays as before, with its logits undefined, while the others
 * commit; the call returns MM2_OK then. Without row_status such a step fails with MM2_E_NUMERIC and
 * commits nothing.
 * A sequence begins with its first step at position 0. On failure logits are undefined. */
MM2_API mm2_status mm2_engine_step(mm2_engine* engine, const mm2_batch* batch, float* logits,
                                   size_t n_logits, mm2_status* row_status, mm2_error* err);

/* Any thread, at any time before destroy, also from a signal handler: the running step, or the next
 * one if none runs, ends with MM2_CANCELLED before its next layer. NULL is fine. */
MM2_API void mm2_engine_interrupt(mm2_engine* engine);

/* Takes back an interrupt that no step has met yet: one that came just after its step had ended
 * does not cancel the next. Any thread, signal handlers too; not during a step. NULL is fine. */
MM2_API void mm2_engine_clear_interrupt(mm2_engine* engine);

/* What the engine has done since create, as a JSON object; numbers, unless said otherwise:
 *   steps, tokens, outputs             committed ones; outputs are rows of logits
 *   step_seconds                       wall time inside mm2_engine_step
 *   cancelled, kv_exhausted            steps that ended so
 *   numeric_rows                       rows refused because their values were not finite
 *   weight_bytes_read, kv_bytes_read   as packed, each weight counted once a step
 *   flops                              two for each multiplication of a product
 *   experts_touched, expert_layers     distinct experts of a layer in a step, and layers, summed
 *   n_experts                          of one layer
 *   expert_tokens                      [[n_experts] of each layer]: tokens that chose an expert
 *   kv      {block_size, total_blocks, free_blocks, n_seqs, bytes}; free as in mm2_kv_pool
 *   prefix  enabled                  whether the engine has a cache (a boolean)
 *           queries, hits            calls of mm2_prefix_match, and those that matched something
 *           queried_tokens, matched_tokens   of these calls
 *           cached_blocks            that could be matched now
 *           idle_blocks              those of them that no sequence holds
 *           merged_blocks            computed twice at the same time, kept once
 *           evicted_blocks           idle ones dropped, for a step or by the host
 *   memory  {weights, kv, buffers}     bytes, the host's and the device's together
 *   device                             of the last step on a device, as its plug-in tells it: kernels
 *                                      launched, bytes read; not there on the CPU
 *   n_threads, backend                 backend is a string
 * Not during a step. */
MM2_API mm2_status mm2_engine_get_stats(const mm2_engine* engine, mm2_buffer* json, mm2_error* err);

/* NULL is fine. Not during a step. */
MM2_API void mm2_engine_destroy(mm2_engine* engine);

#ifdef __cplusplus
}
#endif
#endif
