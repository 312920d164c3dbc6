// Attention of many tokens of a sequence, with the bits of kernels/cuda/decode/attention_step.h: the same
// tiles of 64 positions, groups of 128, chunks of 512 and supers of 16, added in the same order. Only the
// columns of a product are more: the query heads of a KV head for some tokens, instead of one.
//
// Only of numbers that are finite: an infinite value of a token (BF16) makes NaN of those before it in
// its 64 positions too, which decoding would not. Its row is not finite either way, and says so.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/decode/attention_step.h"

namespace mm2::kernels::cuda {

/// Columns of a warpgroup's products, and warpgroups that share keys and values in a block of threads.
constexpr int32_t kQueryColumns = 64, kQueryGroups = 2;
/// Columns that a head's components take among the queries, some of them 0 (attention_tile.h).
constexpr int32_t kQueryWidth = 128;
/// Rows of fewer tokens are left to the kernel of decoding: their queries would fill a tile by less than half,
/// and that kernel shares out one row's positions among all multiprocessors.
constexpr int32_t kLeastTileTokens = kDecodeTokens + 1;

/// Neighbouring tokens of one row: what a block of threads goes over all positions for.
struct QueryTile {
  int32_t first_token, n_tokens, first_position, first_block;
};
MM2_HD static inline int32_t tokens_of_group(int32_t n_heads, int32_t n_kv_heads) {
  return kQueryColumns / (n_heads / n_kv_heads);
}
MM2_HD static inline int32_t tokens_of_tile(int32_t n_heads, int32_t n_kv_heads) {
  return kQueryGroups * tokens_of_group(n_heads, n_kv_heads);
}
/// The tiles of a row's tokens; returns how many. to: of a row of kLeastTileTokens or more an eighth of them,
/// rounded down, is enough.
int32_t tiles_of_row(const DeviceRow& row, int32_t n_heads, int32_t n_kv_heads, QueryTile* to);
/// Those with most positions first: what is left for the end is short.
void sort_tiles(QueryTile* tiles, int32_t n);

/// The unit that block i of n_blocks takes in its round `round`: every other round in the other direction,
/// because units become shorter.
MM2_HD static inline int32_t unit_of_round(int32_t round, int32_t i, int32_t n_blocks) {
  return round * n_blocks + (round % 2 == 0 ? i : n_blocks - 1 - i);
}

/// Neighbouring tokens of short rows, for one launch of the kernel of decoding.
struct TokenGroup {
  int32_t first_token = 0, n_tokens = 0;
  /// Whether the step's next token of a short row begins a group; it is in the last one then.
  bool begins(int32_t token) {
    const bool follows =
        n_tokens > 0 && n_tokens < kDecodeTokens && token == first_token + n_tokens;
    if (!follows) *this = {token, 0};
    ++n_tokens;
    return !follows;
  }
};

struct PrefillAttention {
  // Without input, sums and counters; qkv, rope and y of the step's first token.
  AttentionStep step;
  const QueryTile* tiles;  // [n_tiles]
  int32_t n_tiles;
  uint16_t* q;  // [n_tokens, n_heads, kQueryWidth], written by enter_rows
  float* sums;  // prefill_attention_sums(..) numbers: of supers, of all
};

/// n_processors: blocks of threads that run at once.
MM2_HD static inline int64_t prefill_attention_sums(int32_t n_processors) {
  return int64_t{n_processors} * kQueryGroups * 2 * kQueryColumns * kMostHeadDim;
}

/// Once for each device.
cudaError_t allow_prefill_attention(int32_t number, int32_t head_dim);
/// Norms and rotation of q and k; keys and values into the cache.
cudaError_t enter_rows(const PrefillAttention& a, cudaStream_t stream);
cudaError_t prefill_attention(const PrefillAttention& a, int32_t n_processors, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
