// What a step on a device consists of: its weights and inputs in device memory, and the table of
// functions that start the kernels. kernels/cuda/simple fills a table with kernels that have the
// CPU's bits; others fill tables for what they do faster, and leave the rest null.
//
// Functions only start kernels in step.stream: they take no memory, do not wait, may run while the
// stream is captured, and return what the launch returned. All pointers but those called `host` are
// device memory.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/api/types.h"
#include "kernels/cuda/layout/kv.h"
#include "kernels/cuda/layout/weights.h"

namespace mm2::kernels::cuda {

/// A packed matrix; plain numbers, so that kernels take it by value. That of embeddings is
/// row-major (data, n_out, n_in and format say all about it).
struct DeviceMatrix {
  WeightLayout layout;
  const char* data;
  float output_scale;
  int32_t output_divides;
};

struct DeviceExpert {
  DeviceMatrix gate, up, down;
};

struct DeviceLayer {
  const float* input_norm;
  DeviceMatrix q, k, v, o;
  const float *q_norm, *k_norm, *post_attention_norm;
  DeviceMatrix router;
  const float* router_bias;
  const DeviceExpert* experts;       // [n_experts]
  const DeviceExpert* host_experts;  // [n_experts] the same in the host's memory
};

struct DeviceWeights {
  ModelShape shape;
  DeviceMatrix embedding;
  const DeviceLayer* layers;  // [n_layers] in the host's memory
  const float* final_norm;
  DeviceMatrix lm_head;
};

/// StepRow for kernels.
struct DeviceRow {
  int32_t first_token, n_tokens, first_position, n_outputs;
  int32_t first_block;  // index into DeviceKv::blocks
};

struct DeviceKv {
  char* data;            // layer l, block b at data + l * layer_stride + b * block_stride
  int64_t layer_stride;  // bytes
  int64_t block_stride;  // bytes
  KvLayout layout;
  const float *k_scales, *v_scales;            // [n_layers, n_kv_heads], null where not kE4M3
  const float *host_k_scales, *host_v_scales;  // the same in the host's memory
  const int32_t* blocks;                       // block numbers of all rows
};

/// Values between operations, for DeviceLimits::max_tokens tokens and max_outputs outputs.
struct StepBuffers {
  float* h;        // [n_tokens, hidden] residual stream
  float* x;        // [n_tokens, hidden] after a norm
  float* rope;     // [n_tokens, rotary_dim]
  float* q;        // [n_tokens, n_heads * head_dim]
  float* kv_work;  // [n_tokens, 2 * n_kv_heads * head_dim]
  float* attn;     // [n_tokens, n_heads * head_dim]
  int32_t* ids;    // [n_layers, n_tokens, top_k] of every layer: the host is told of them
  float* weights;  // [n_tokens, top_k]
  float* outputs;  // [n_outputs, hidden] rows that want logits
  float* logits;   // [n_outputs, n_vocab]
  char* scratch;   // what any function needs beside them, 256-byte aligned
};

/// The greatest step of an engine.
struct DeviceLimits {
  int32_t max_tokens, max_outputs, max_rows, max_positions, n_multiprocessors;
};

/// One step. Of rows and positions there is a copy in the host's memory.
struct DeviceStep {
  const DeviceWeights* weights;  // in the host's memory
  cudaStream_t stream;
  int32_t n_rows, n_tokens, n_outputs;
  int32_t activations;           // kBF16 or kF32
  const DeviceRow* rows;         // [n_rows]
  const DeviceRow* host_rows;    // [n_rows]
  const int32_t* tokens;         // [n_tokens]
  const int32_t* positions;      // [n_tokens]
  const int32_t* token_rows;     // [n_tokens] the row of each token
  const int32_t* output_tokens;  // [n_outputs] the token of each output
  int32_t* row_results;          // [n_rows] a RowResult each
  DeviceKv kv;
  StepBuffers buffers;
  DeviceLimits limits;
  void* state;  // of DeviceOps::make_state, the same for all steps of an engine
  /// What functions that start several layers ask before each of them but the first, if they do not
  /// run as a graph: not 0 = start no more, return cudaSuccess. Null = never.
  int32_t (*stops)(void* self, int32_t layer);
  void* stops_self;

  const ModelShape& shape() const { return weights->shape; }
};

/// Functions that are null are done by the next table (of kernels/cuda/simple in the end).
struct DeviceOps {
  const char* name;

  /// Bytes of StepBuffers::scratch, monotone in each limit.
  int64_t (*scratch_bytes)(const ModelShape& shape, const DeviceLimits& limits);
  /// Once for an engine: shared memory of kernels is allowed, graphs are made. `largest` is a step
  /// whose pointers will be those of all steps. Null = nothing to do.
  cudaError_t (*make_state)(const DeviceStep& largest, void** state);
  void (*free_state)(void* state);

  cudaError_t (*embed)(const DeviceStep&, const DeviceMatrix& table, float* y);
  cudaError_t (*rope_table)(const DeviceStep&, float* table);
  // x [n_rows, width]
  cudaError_t (*rms_norm)(const DeviceStep&, const float* x, const float* weight, int32_t n_rows,
                          int32_t width, float* y);
  // x [n_tokens, n_in]; add [n_tokens, n_out] or null, may be y
  cudaError_t (*linear)(const DeviceStep&, const float* x, int32_t n_tokens, const DeviceMatrix& w,
                        const float* add, float* y);
  // into the cache, and step.buffers.q and kv_work
  cudaError_t (*qkv)(const DeviceStep&, int32_t layer, const float* x);
  // of step.buffers.q
  cudaError_t (*attention)(const DeviceStep&, int32_t layer, float* y);
  // ids [n_tokens, top_k] ascending
  cudaError_t (*router)(const DeviceStep&, int32_t layer, const float* x, int32_t* ids,
                        float* weights);
  cudaError_t (*experts)(const DeviceStep&, int32_t layer, const float* x, const int32_t* ids,
                         const float* weights, float* h);

  /// Several of these at once; where not null, they go before the functions above. They leave in the
  /// buffers what the single functions would: h, and ids of their layer.
  cudaError_t (*attention_half)(const DeviceStep&, int32_t layer);
  cudaError_t (*experts_half)(const DeviceStep&, int32_t layer);
  /// All of a step from the tokens on to h after the last layer.
  cudaError_t (*layers)(const DeviceStep&);
  /// From h to row_results, and to logits where n_outputs > 0.
  cudaError_t (*finish)(const DeviceStep&);
  /// How many kernels the step starts, from the tokens to the logits; looks at the state, but at no device
  /// memory. Null: as the simple kernels.
  int64_t (*launches)(const DeviceStep&);
};

}  // namespace mm2::kernels::cuda
