// What a block of threads of attention does before it multiplies: its unit, norms and rotation of q and
// k, the cache's new positions, queries into shared memory.
#pragma once

#include "kernels/cuda/decode/attention_tile.h"
#include "kernels/cuda/decode/rows.h"

namespace mm2::kernels::cuda {

constexpr int32_t kGroups = kAttentionThreads / kWarpgroup;
static_assert(kGroups == kChunkParts);
constexpr int32_t kPartPositions = kChunkPositions / kChunkParts;
constexpr int32_t kGroupTiles = kPartPositions / kTilePositions;
constexpr int32_t kWeightTile = kMostQueries * kTileRowBytes;  // 64 positions of 8 queries

/// Shared memory of a block of kHere warpgroups, which take the kGroups parts of a chunk in turns.
template <int32_t kHere>
struct AttentionShared {
  char q[2 * kWeightTile];               // of 128 columns
  char weights[kHere][2 * kWeightTile];  // upper parts, then lower ones
  float y[kGroups][kMostQueries][kMostHeadDim];
  float greatest[kGroups][kMostQueries], total[kGroups][kMostQueries];
  float warps[kHere][4][kMostQueries];
  float room[kHere][4];
  float q_factor[kDecodeTokens], k_factor[kDecodeTokens];
  uint32_t last;
};

/// What a block of threads works on.
struct ChunkUnit {
  int32_t row, kv_head, chunk;
};
__device__ inline ChunkUnit chunk_unit(const StepInput& in, int32_t n_kv_heads, int64_t i) {
  ChunkUnit u{};
  for (;; ++u.row) {
    const int32_t last = in.first_token[u.row] + in.row_tokens[u.row] - 1;
    const int64_t n = chunks_of(in.positions[last]);
    if (i < n * n_kv_heads) {
      u.kv_head = static_cast<int32_t>(i / n);
      u.chunk = static_cast<int32_t>(i % n);
      return u;
    }
    i -= n * n_kv_heads;
  }
}

/// The parts [first, end) of unit `index`.
struct UnitParts {
  int64_t index;
  int32_t first, end;
};
__device__ inline UnitParts unit_parts(int64_t i, int32_t n_pieces) {
  const auto piece = static_cast<int32_t>(i % n_pieces);
  const int32_t each = kChunkParts / n_pieces;
  return {i / n_pieces, piece * each, (piece + 1) * each};
}

/// Asks for keys and values of a block of threads' first units to be in the second-level cache; each of
/// its callers, from 0 on, for one of kAskers pieces. Nothing of it depends on the kernels before: the
/// cache's old positions are there, new ones are not looked at. shares: as blocks of one warpgroup do.
constexpr int32_t kAskers = 2 * kChunkPositions / kTilePositions;
__device__ inline void ask_units_ahead(const AttentionStep& s, int32_t asker, bool shares) {
  constexpr int32_t kAsked = 2;  // units
  if (asker >= kAskers) return;
  const int32_t bytes = s.head_dim * (s.number == kE4M3 ? 1 : 2);  // of a position
  const int64_t n = attention_units(*s.input, s.n_kv_heads);
  const int32_t n_pieces = shares ? parts_of_chunk(n, gridDim.x) : 1;
  const Share share = share_of(n * n_pieces, gridDim.x, blockIdx.x);
  const int64_t half = int64_t{s.block_size} * bytes;
  for (int64_t i = share.first; i < share.end && i < share.first + kAsked; ++i) {
    const UnitParts parts = unit_parts(i, n_pieces);
    const int32_t part = asker / 2 * kChunkParts * kTilePositions / kChunkPositions;
    if (part < parts.first || part >= parts.end) continue;
    const ChunkUnit u = chunk_unit(*s.input, s.n_kv_heads, parts.index);
    const int32_t start = u.chunk * kChunkPositions + asker / 2 * kTilePositions;
    const int32_t last = s.input->first_token[u.row] + s.input->row_tokens[u.row] - 1;
    if (start > s.input->positions[last]) continue;
    const int32_t block = s.blocks[s.input->first_block[u.row] + start / s.block_size];
    const char* keys = s.cache + block * s.block_stride + u.kv_head * 2 * half;
    prefetch_l2(keys + asker % 2 * half + int64_t{start % s.block_size} * bytes,
                static_cast<unsigned>(kTilePositions * bytes));
  }
}

/// kHere: warpgroups of the block of threads.
template <int32_t number, int32_t kDim, int32_t kHere>
class AttentionRows {
 public:
  static constexpr int32_t kThreads = kHere * kWarpgroup;
  using Shared = AttentionShared<kHere>;

  __device__ AttentionRows(const AttentionStep& step, Shared& shared, int32_t rank_)
      : s(step),
        to(shared),
        rank(rank_),
        group(kHere == 1 ? 0 : rank / kWarpgroup),
        thread(kHere == 1 ? rank : rank % kWarpgroup),
        queries(step.n_heads / step.n_kv_heads),
        width((step.n_heads + 2 * step.n_kv_heads) * step.head_dim) {}

  /// Of the norms of q and of k, each over its whole width.
  __device__ void find_factors() {
    const int32_t q_width = s.n_heads * kDim, k_width = s.n_kv_heads * kDim;
    for (int32_t i = group; i < 2 * s.input->n_tokens; i += kHere) {
      const float* x = s.qkv + int64_t{i / 2} * width + (i % 2 != 0 ? q_width : 0);
      const int32_t n = i % 2 != 0 ? k_width : q_width;
      const float sum =
          sum_of_squares(x, n, thread, kWarpgroup, to.room[group], [this] { sync_group(); });
      float* factors = i % 2 != 0 ? to.k_factor : to.q_factor;
      if (thread == 0) factors[i / 2] = norm_factor(sum, n, s.eps);
    }
    sync_block();
  }

  /// Component d of a head after its norm and rotation. head: its numbers and those of the norm.
  __device__ float rotated(const float* head, const float* norm, float factor, int32_t t,
                           int32_t d) const {
    const auto normed = [&](int32_t i) { return __ldcg(head + i) * factor * norm[i]; };
    const int32_t n = s.rotary_dim / 2;
    if (d >= s.rotary_dim) return normed(d);
    const float* rope = s.rope + t * s.rotary_dim;
    const float c = rope[d % n], sine = rope[n + d % n];
    if (d < n) return normed(d) * c - normed(n + d) * sine;
    return normed(d) * c + normed(d - n) * sine;
  }

  /// The keys of a block of the cache that hold this position, and the values behind them.
  __device__ char* block_of(const ChunkUnit& u, int64_t position) const {
    const int32_t block = s.blocks[s.input->first_block[u.row] + position / s.block_size];
    const int64_t half = int64_t{s.block_size} * kDim * (number == kE4M3 ? 1 : 2);
    return s.cache + block * s.block_stride + u.kv_head * 2 * half;
  }

  __device__ void store_position(const ChunkUnit& u, int32_t t) const {
    constexpr int64_t kBytes = number == kE4M3 ? 1 : 2;
    const int64_t position = s.input->positions[t];
    const int64_t half = int64_t{s.block_size} * kDim * kBytes;
    char* keys = block_of(u, position) + position % s.block_size * kDim * kBytes;
    const float* k = s.qkv + int64_t{t} * width + (s.n_heads + u.kv_head) * kDim;
    const float* v = k + s.n_kv_heads * kDim;
    const auto store = [&](char* row, int32_t d, float x, const float* scales) {
      if constexpr (number == kE4M3) {
        row[d] = static_cast<char>(f32_to_e4m3(__fdiv_rn(x, scales[u.kv_head])));
      } else {
        reinterpret_cast<uint16_t*>(row)[d] = f32_to_bf16(x);
      }
    };
    MM2_ROLLED
    for (int32_t i = rank; i < 2 * kDim; i += kThreads) {
      const int32_t d = i % kDim;
      if (i < kDim) {
        const float* norm = s.k_norm + u.kv_head * kDim;
        store(keys, d, rotated(k, norm, to.k_factor[t], t, d), s.k_scales);
      } else {
        store(keys + half, d, __ldcg(v + d), s.v_scales);
      }
    }
  }

  /// The queries of a KV head as BF16, components in the order of attention_tile.h.
  __device__ void stage_queries(const ChunkUnit& u, int32_t t) {
    for (int32_t i = rank; i < 2 * kWeightTile / 16; i += kThreads) {
      reinterpret_cast<uint4*>(to.q)[i] = uint4{0, 0, 0, 0};
    }
    sync_block();
    MM2_ROLLED
    for (int32_t i = rank; i < queries * kDim; i += kThreads) {
      const int32_t c = i / kDim, d = i % kDim, head = u.kv_head * queries + c;
      const float x = rotated(s.qkv + int64_t{t} * width + head * kDim, s.q_norm + head * kDim,
                              to.q_factor[t], t, d);
      const int32_t column = column_of_component<number>(d);
      char* at = to.q + column / 64 * kWeightTile +
                 tile_byte(static_cast<uint32_t>(c), static_cast<uint32_t>(column % 64));
      *reinterpret_cast<uint16_t*>(at) = f32_to_bf16(x);
    }
  }

 protected:
  __device__ void sync_group() const {
    const int32_t which = kHere == 1 ? 0 : group;
    named_sync(static_cast<unsigned>(1 + which), static_cast<unsigned>(kWarpgroup));
  }
  __device__ void sync_block() const {
    if constexpr (kHere == 1) {
      sync_group();
    } else {
      __syncthreads();
    }
  }

  const AttentionStep& s;
  Shared& to;
  const int32_t rank;           // the thread in the block
  const int32_t group, thread;  // a warpgroup, and the thread in it
  const int32_t queries, width;
};

}  // namespace mm2::kernels::cuda
