// Attention of many tokens of a sequence, with the bits of kernels/cuda/decode/attention_step.h: the same
// tiles of 64 positions, groups of 128, chunks of 512 and supers of 16, added in the same order. Only the
// columns of a product are more: the query heads of a KV head for some tokens, instead of one.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/decode/attention_step.h"

namespace mm2::kernels::cuda {

/// Columns of a tile of queries.
constexpr int32_t kQueryColumns = 64;
/// Columns that a head's components take among the queries, some of them 0 (attention_tile.h).
constexpr int32_t kQueryWidth = 128;

/// Neighbouring tokens of one row.
struct QueryTile {
  int32_t first_token, n_tokens, first_position, first_block;
};
MM2_HD static inline int32_t tokens_of_tile(int32_t n_heads, int32_t n_kv_heads) {
  return kQueryColumns / (n_heads / n_kv_heads);
}

/// The tiles of a row's tokens; returns how many. to: [divide_up(n_tokens, 8)] is enough.
int32_t tiles_of_row(const DeviceRow& row, int32_t n_heads, int32_t n_kv_heads, QueryTile* to);
/// Those with most positions first: what is left for the end is short.
void sort_tiles(QueryTile* tiles, int32_t n);

struct PrefillAttention {
  AttentionStep
      step;  // without input, sums and counters; qkv, rope and y of the step's first token
  const QueryTile* tiles;  // [n_tiles], those with most positions first
  int32_t n_tiles;
  uint16_t* q;  // [n_tokens, n_heads, kQueryWidth], written by enter_rows
  float* sums;  // prefill_attention_sums(..) numbers
};

/// Blocks of threads that run at once, and what each keeps of sums.
MM2_HD static inline int32_t attention_blocks(int32_t n_processors) {
  return 2 * n_processors;
}
MM2_HD static inline int64_t prefill_attention_sums(int32_t n_processors) {
  return int64_t{attention_blocks(n_processors)} * 2 * kQueryColumns * kMostHeadDim;
}

/// Once for each device.
cudaError_t allow_prefill_attention(int32_t number, int32_t head_dim);
/// Norms and rotation of q and k; keys and values into the cache.
cudaError_t enter_rows(const PrefillAttention& a, cudaStream_t stream);
cudaError_t prefill_attention(const PrefillAttention& a, int32_t n_processors, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
