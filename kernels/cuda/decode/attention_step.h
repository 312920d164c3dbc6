// Attention of a decoding step: norms of q and k, rotation, the cache's new positions, and the sums.
//
// A unit is a chunk of 512 positions of one KV head of one row, for all of the row's tokens. Its four
// warpgroups take 128 positions each, in tiles of 64:
//   scores: keys are wgmma's A (64 positions), the up to 8 query heads of the KV head its 8 columns; one
//     chain over head_dim, from zero; times log2(e) / sqrt(head_dim) and the scale of the keys, rounded once
//   weights: e = 2^(score - greatest), greatest of the tile and those before it in the warpgroup; e is
//     taken as the sum of two numbers of BF16, 16 significant bits: in the products and in the total alike
//   sums: values are A (64 components), weights its columns: y = y * fade, then the chain over the tile's
//     positions, 16 at a time, of each 16 the upper parts of the weights, then the lower ones
// Warpgroups are added ascending, then chunks of a super, then supers (plan.h): greatest of both, each
// side faded to it. Tiles and chunks that begin after the token's position are not there. A later position
// never reaches a sum: its score is not looked at, its value counts as 0.
//
// So the bits depend on the row's own positions alone.
#pragma once

#include "kernels/cuda/common/device_ops.h"
#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/decode/step_input.h"

namespace mm2::kernels::cuda {

constexpr int32_t kAttentionThreads = 512;
constexpr int32_t kMostHeadDim = 128;
constexpr int32_t kMostQueries = 8;  // heads that share a KV head

struct AttentionStep {
  const StepInput* input;
  const int32_t* blocks;  // of all rows: StepInput::first_block
  int32_t n_heads, n_kv_heads, head_dim, rotary_dim;
  float eps;
  const float* q_norm;    // [n_heads * head_dim]
  const float* k_norm;    // [n_kv_heads * head_dim]
  const float* qkv;       // [n_tokens, (n_heads + 2 n_kv_heads) * head_dim]
  const float* rope;      // [n_tokens, rotary_dim]
  const float* k_scales;  // [n_kv_heads] of this layer, or null
  const float* v_scales;
  char* cache;           // of this layer
  int64_t block_stride;  // bytes
  int32_t block_size, number;
  uint16_t* y;  // [n_tokens, n_heads * head_dim], BF16
  // What chunks leave: [n_tokens, n_heads, max_chunks + max_supers] times head_dim sums, and greatest and
  // total. Supers stand behind the chunks.
  float* sums;
  float2* tops;
  int32_t max_chunks, max_supers;
  uint32_t* counters;  // [n_tokens, n_kv_heads, max_supers + 1], 0 before and after
  // What parts of chunks leave, where blocks of one warpgroup share them (parts_of_chunk); null: they do
  // not. [units, kChunkParts, kDecodeTokens, heads of a KV head], of the sums times head_dim.
  float* part_sums;
  float2* part_tops;
  uint32_t* part_counters;  // [units, kDecodeTokens], 0 before and after
};

/// The parts of a chunk, each of which a warpgroup adds up from nothing, ascending.
constexpr int32_t kChunkParts = 4;
/// Units of a step at most whose parts are shared out.
constexpr int32_t kMostSharedUnits = kPlannedProcessors;

/// Into how many pieces n_blocks blocks of threads share each of n_units chunks: as many as keep them busy.
MM2_HD static inline int32_t parts_of_chunk(int64_t n_units, int64_t n_blocks) {
  if (n_units > kMostSharedUnits) return 1;
  return n_units * kChunkParts <= n_blocks ? kChunkParts : n_units * 2 <= n_blocks ? 2 : 1;
}

MM2_HD static inline int32_t attention_counters(const AttentionStep& s) {
  return kDecodeTokens * s.n_kv_heads * (s.max_supers + 1);
}

/// Units of a step; the same for every layer.
MM2_HD static inline int64_t attention_units(const StepInput& in, int32_t n_kv_heads) {
  int64_t n = 0;
  for (int32_t r = 0; r < in.n_rows; ++r) {
    n += n_kv_heads * chunks_of(in.positions[in.first_token[r] + in.row_tokens[r] - 1]);
  }
  return n;
}

/// Why not: this kernel has places for so many numbers.
MM2_HD static inline bool takes_heads(const ModelShape& s, int32_t number) {
  const int32_t d = s.head_dim;
  return (number == kE4M3 || number == kBF16) && (d == 16 || d == 32 || d == 64 || d == 128) &&
         s.n_heads % s.n_kv_heads == 0 && s.n_heads / s.n_kv_heads <= kMostQueries;
}

/// What all launches of a layer have in common: shape, weights, cache. What comes in and goes out, and
/// where chunks leave their sums, is left to the caller. The host's side.
AttentionStep attention_of(const DeviceStep& step, int32_t layer);

cudaError_t run_attention(const AttentionStep& s, int32_t n_blocks, bool overlaps,
                          cudaStream_t stream);

}  // namespace mm2::kernels::cuda
