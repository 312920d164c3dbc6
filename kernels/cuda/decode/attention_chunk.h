// A block of threads' chunks of attention: scores, weights, sums, and who adds them.
#pragma once

#include "kernels/cuda/decode/attention_rows.h"
#include "kernels/cuda/decode/attention_sums.h"

namespace mm2::kernels::cuda {

template <int32_t number, int32_t kDim, int32_t kHere>
class Attention : public AttentionRows<number, kDim, kHere> {
  using Rows = AttentionRows<number, kDim, kHere>;
  using Rows::block_of, Rows::sync_group, Rows::sync_block, Rows::kThreads;
  using Rows::s, Rows::to, Rows::rank, Rows::group, Rows::thread, Rows::queries, Rows::width;

 public:
  __device__ Attention(const AttentionStep& step, typename Rows::Shared& shared, int32_t rank_)
      : Rows(step, shared, rank_) {}

  __device__ void run() {
    const int64_t n = attention_units(*s.input, s.n_kv_heads);
    n_pieces = kHere == 1 ? parts_of_chunk(n, gridDim.x) : 1;
    const Share share = share_of(n * n_pieces, gridDim.x, blockIdx.x);
    if (share.first == share.end) return;
    this->find_factors();
    for (int64_t i = share.first; i < share.end; ++i) {
      const UnitParts parts = unit_parts(i, n_pieces);
      const ChunkUnit u = chunk_unit(*s.input, s.n_kv_heads, parts.index);
      const int32_t first = s.input->first_token[u.row], end = first + s.input->row_tokens[u.row];
      const int32_t start = u.chunk * kChunkPositions + parts.first * kPartPositions;
      const int32_t stop = u.chunk * kChunkPositions + parts.end * kPartPositions;
      for (int32_t t = first; t < end; ++t) {
        const int32_t position = s.input->positions[t];
        if (position >= start && position < stop) this->store_position(u, t);
      }
      for (int32_t t = first; t < end; ++t) {
        if (s.input->positions[t] < start) continue;
        this->stage_queries(u, t);
        fence_async();
        sync_block();
        add_chunk(u, parts, s.input->positions[t]);
        sync_block();
        finish(u, parts, t, s.input->positions[t]);
        sync_block();
      }
    }
  }

 private:
  /// The greatest of both rows of all threads for each of the thread's two queries.
  __device__ void greatest_of_tile(const float (&score)[4], float (&greatest)[2]) {
    MM2_UNROLL
    for (int j = 0; j < 2; ++j) {
      float x = fmaxf(score[j], score[2 + j]);
      for (int lanes = 4; lanes < 32; lanes *= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
      if (thread % 32 < 4) to.warps[group][thread / 32][thread % 4 * 2 + j] = x;
    }
    sync_group();
    for (int j = 0; j < 2; ++j) {
      for (int w = 0; w < 4; ++w) {
        greatest[j] = fmaxf(greatest[j], to.warps[group][w][thread % 4 * 2 + j]);
      }
    }
  }

  struct State {
    float greatest[2], total[2];
    float y[2][4];
  };

  /// Positions [0, last] of the tile whose keys and values these are.
  __device__ void add_tile(const char* keys, const char* values, int32_t last, float factor,
                           State& state) {
    constexpr int kSteps = score_steps<number>(kDim);
    uint32_t k[kSteps][4], v[2][4][4];
    load_keys<number, kDim>(keys, last, thread, k);
    const uint64_t q = k_major(tile_address(to.q));
    float score[4];
    wgmma.fence();
    MM2_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      const uint64_t at = q + static_cast<uint64_t>(i / 4) * (kWeightTile / 16) +
                          static_cast<uint64_t>(i % 4) * kStepKMajor;
      wgmma.template multiply<8>(score, k[i], at, i > 0);
    }
    wgmma.commit();
    wgmma.template wait<0>(score);
    load_values<number, kDim>(values, last, thread,
                              v);  // behind the keys, whose registers they take
    const int32_t row = thread / 32 * 16 + thread % 32 / 4;
    MM2_UNROLL
    for (int i = 0; i < 4; ++i) {
      score[i] = row + i / 2 * 8 <= last ? score[i] * factor : kLowestScore;
    }
    float greatest[2] = {state.greatest[0], state.greatest[1]};
    greatest_of_tile(score, greatest);
    char* upper = to.weights[group];
    MM2_UNROLL
    for (int j = 0; j < 2; ++j) {
      const float fade = exp2_fast(state.greatest[j] - greatest[j]);
      state.greatest[j] = greatest[j];
      state.total[j] *= fade;
      for (int m = 0; m < 2; ++m) {
        state.y[m][j] *= fade;
        state.y[m][2 + j] *= fade;
      }
      for (int lower = 0; lower < 2; ++lower) {
        const int32_t position = row + lower * 8;
        const float e = position <= last ? exp2_fast(score[2 * lower + j] - greatest[j]) : 0.0f;
        const uint16_t high = f32_to_bf16(e);
        const uint16_t low = f32_to_bf16(e - bf16_to_f32(high));
        state.total[j] += bf16_to_f32(high) + bf16_to_f32(low);
        const uint32_t at =
            tile_byte(static_cast<uint32_t>(thread % 4 * 2 + j), static_cast<uint32_t>(position));
        *reinterpret_cast<uint16_t*>(upper + at) = high;
        *reinterpret_cast<uint16_t*>(upper + kWeightTile + at) = low;
      }
    }
    fence_async();
    sync_group();
    const uint64_t p = k_major(tile_address(upper));
    wgmma.fence();
    MM2_UNROLL
    for (int step = 0; step < 4; ++step) {
      MM2_UNROLL
      for (int i = 0; i < 4; ++i) {  // both tiles of components, upper parts, then lower ones
        const uint64_t at = p + static_cast<uint64_t>(step) * kStepKMajor +
                            static_cast<uint64_t>(i / 2) * (kWeightTile / 16);
        wgmma.template multiply<8>(state.y[i % 2], v[i % 2][step], at, true);
      }
    }
    wgmma.commit();
    wgmma.template wait<0>(state.y[0]);
    wgmma.template wait<0>(state.y[1]);
  }

  __device__ void add_chunk(const ChunkUnit& u, const UnitParts& parts, int32_t position) {
    if constexpr (kHere == kGroups) {
      add_group(u, group, position);
    } else {
      MM2_ROLLED
      for (int32_t g = parts.first + group; g < parts.end; g += kHere) {
        add_group(u, g, position);
        sync_group();  // to.warps is written anew
      }
    }
  }

  /// Part g of a chunk, for the query at `position`; its sums into shared memory.
  __device__ void add_group(const ChunkUnit& u, int32_t g, int32_t position) {
    if (kHere < kGroups && u.chunk * kChunkPositions + g * kPartPositions > position) {
      return;
    }
    State state{{kLowestScore, kLowestScore}, {0, 0}, {}};
    const float factor = score_factor<number, kDim>(s, u.kv_head);
    const int64_t half = int64_t{s.block_size} * kDim * (number == kE4M3 ? 1 : 2);
    MM2_ROLLED
    for (int32_t i = 0; i < kGroupTiles; ++i) {
      const int32_t start = u.chunk * kChunkPositions + (g * kGroupTiles + i) * kTilePositions;
      if (start > position) break;
      const char* keys =
          block_of(u, start) + int64_t{start % s.block_size} * kDim * (number == kE4M3 ? 1 : 2);
      add_tile(keys, keys + half, position - start, factor, state);
    }
    const int32_t c = thread % 4 * 2;
    sync_group();
    for (int j = 0; j < 2; ++j) {
      for (int lanes = 4; lanes < 32; lanes *= 2) {
        state.total[j] += __shfl_xor_sync(~0u, state.total[j], lanes);
      }
      if (thread % 32 < 4) to.warps[group][thread / 32][c + j] = state.total[j];
    }
    sync_group();
    for (int j = 0; j < 2 && thread < 4; ++j) {
      const auto& warps = to.warps[group];
      to.total[g][c + j] = warps[0][c + j] + warps[1][c + j] + warps[2][c + j] + warps[3][c + j];
      to.greatest[g][c + j] = state.greatest[j];
    }
    MM2_UNROLL
    for (int i = 0; i < 8; ++i) {
      const int32_t row = thread / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8;
      to.y[g][c + i % 2][component_of_row(row, i / 4)] = state.y[i / 4][i % 4];
    }
  }

  __device__ void write(const ChunkUnit& u, int32_t t, int32_t head, int32_t d, const Sums& sums) {
    const float scale = number == kE4M3 ? s.v_scales[u.kv_head] : 1.0f;
    s.y[int64_t{t} * s.n_heads * kDim + head * kDim + d] =
        f32_to_bf16(sums.y * __fdiv_rn(scale, sums.total));
  }

  /// Calls f(head, d, query) for all of the KV head's.
  template <typename F>
  __device__ void each(const ChunkUnit& u, F f) {
    MM2_ROLLED
    for (int32_t i = rank; i < queries * kDim; i += kThreads) {
      f(u.kv_head * queries + i / kDim, i % kDim, i / kDim);
    }
  }

  /// Where part g of a unit leaves the sums of query c of a token.
  __device__ int64_t place_of_part(const UnitParts& parts, int32_t g, int32_t t, int32_t c) const {
    return ((parts.index * kChunkParts + g) * kDecodeTokens + t) * queries + c;
  }
  __device__ Sums sums_of_part(const UnitParts& parts, bool is_shared, int32_t g, int32_t t,
                               int32_t c, int32_t d) const {
    if (!is_shared) return {to.greatest[g][c], to.total[g][c], to.y[g][c][d]};
    const int64_t at = place_of_part(parts, g, t, c);
    const float2 top = __ldcg(s.part_tops + at);
    return {top.x, top.y, __ldcg(s.part_sums + at * kDim + d)};
  }

  /// Leaves the sums of these parts, of which n_parts are seen; true for the last of the unit.
  __device__ bool leave_parts(const ChunkUnit& u, const UnitParts& parts, int32_t t,
                              int32_t n_parts) {
    each(u, [&](int32_t, int32_t d, int32_t c) {
      MM2_ROLLED
      for (int32_t g = parts.first; g < parts.end && g < n_parts; ++g) {
        const int64_t at = place_of_part(parts, g, t, c);
        __stcg(s.part_sums + at * kDim + d, to.y[g][c][d]);
        if (d == 0) __stcg(s.part_tops + at, make_float2(to.greatest[g][c], to.total[g][c]));
      }
    });
    const int32_t each_has = kChunkParts / n_pieces;
    return is_last(s.part_counters + parts.index * kDecodeTokens + t,
                   (n_parts + each_has - 1) / each_has, &to.last, [this] { sync_block(); });
  }

  /// Adds the warpgroups; whoever is the last of a super adds its chunks, then the last of all supers.
  __device__ void finish(const ChunkUnit& u, const UnitParts& parts, int32_t t, int32_t position) {
    const auto n_chunks = static_cast<int32_t>(chunks_of(position));
    const auto n_supers = static_cast<int32_t>(supers_of(position));
    const int32_t seen = (position - u.chunk * kChunkPositions) / kPartPositions + 1;
    const int32_t n_parts = seen < kChunkParts ? seen : kChunkParts;
    const bool is_shared = kHere == 1 && n_parts > kChunkParts / n_pieces;
    if (is_shared && !leave_parts(u, parts, t, n_parts)) return;
    each(u, [&](int32_t head, int32_t d, int32_t c) {
      Sums all = sums_of_part(parts, is_shared, 0, t, c, d);
      MM2_ROLLED
      for (int32_t g = 1; g < n_parts; ++g) {
        add_sums(all, sums_of_part(parts, is_shared, g, t, c, d));
      }
      if (n_chunks == 1) return write(u, t, head, d, all);
      leave(s, place_of(s, t, head, u.chunk), d, all);
    });
    if (n_chunks == 1) return;
    const int32_t super = u.chunk / kSuperChunks, first = super * kSuperChunks;
    const int32_t n = n_chunks - first < kSuperChunks ? n_chunks - first : kSuperChunks;
    uint32_t* counters = s.counters + (t * s.n_kv_heads + u.kv_head) * (s.max_supers + 1);
    if (!is_last(counters + super, n, &to.last, [this] { sync_block(); })) return;
    each(u, [&](int32_t head, int32_t d, int32_t) {
      const Sums all = find_all(s, t, head, first, n, d);
      if (n_supers == 1) return write(u, t, head, d, all);
      leave(s, place_of(s, t, head, s.max_chunks + super), d, all);
    });
    if (n_supers == 1) return;
    if (!is_last(counters + s.max_supers, n_supers, &to.last, [this] { sync_block(); })) return;
    each(u, [&](int32_t head, int32_t d, int32_t) {
      write(u, t, head, d, find_all(s, t, head, s.max_chunks, n_supers, d));
    });
  }

  Wgmma wgmma;
  int32_t n_pieces = 1;  // into which blocks share a chunk's parts
};

/// A number that a template takes.
template <int32_t number>
struct HeadDim {
  static constexpr int32_t value = number;
};
/// Calls f(HeadDim<..>{}) for a size that there are kernels for (takes_heads); false for others.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <typename F>
MM2_HD static inline bool with_head_dim(int32_t head_dim, const F& f) {
  switch (head_dim) {
    case 16:
      return f(HeadDim<16>{}), true;
    case 32:
      return f(HeadDim<32>{}), true;
    case 64:
      return f(HeadDim<64>{}), true;
    case 128:
      return f(HeadDim<128>{}), true;
    default:
      return false;
  }
}

}  // namespace mm2::kernels::cuda
