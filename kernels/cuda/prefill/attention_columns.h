// One warpgroup of prefill_attention: all positions for the queries in its columns.
#pragma once

#include "kernels/cuda/common/ptx_matrices.h"
#include "kernels/cuda/prefill/attention_sums.h"

namespace mm2::kernels::cuda {

/// exp2_fast of what is not above 0.
MM2_HD static inline float exp2_of_difference(float t) {
  const float p = exp2_in_range(t);
  return t < -125.0f ? 0.0f : p;
}

template <int32_t number, int32_t kDim>
class Columns : public ColumnSums<number, kDim> {
  using Sums = ColumnSums<number, kDim>;
  using Sums::a, Sums::s, Sums::to, Sums::group, Sums::thread, Sums::queries;
  using Sums::column_of, Sums::sync;

 public:
  __device__ Columns(const PrefillAttention& attention, TileShared& shared)
      : Sums(attention, shared), ring(tile_ring<number, kDim>(shared)) {}

  /// The warpgroup's part of a unit. All tiles of keys and values pass, needed or not.
  __device__ void run(int32_t unit) {
    const QueryTile own = this->own_tile(unit);
    const int32_t own_end = own.n_tokens > 0 ? own.first_position + own.n_tokens : 0;
    if (own_end > 0) {
      stage_queries(own, head_of(a, unit));
      add_chunks(unit, own_end - 1);
    }
    const int32_t end = tile_of(a, unit).first_position + tile_of(a, unit).n_tokens;
    for (int32_t n = (own_end + kTilePositions - 1) / kTilePositions; n * kTilePositions < end;
         ++n) {
      await_slot(ring, place);
      leave_slot(ring, place);
    }
  }

 private:
  __device__ void stage_queries(const QueryTile& tile, int32_t kv_head) {
    sync();  // nobody reads those of the tile before
    MM2_ROLLED
    for (int32_t i = thread; i < kN * kQueryWidth / 8; i += kGroupThreads) {
      const int32_t c = i / (kQueryWidth / 8), column = i % (kQueryWidth / 8) * 8;
      const int32_t token = c / queries;
      uint4 eight{0, 0, 0, 0};
      if (token < tile.n_tokens) {
        const int64_t head =
            int64_t{tile.first_token + token} * s.n_heads + kv_head * queries + c % queries;
        eight = *reinterpret_cast<const uint4*>(a.q + head * kQueryWidth + column);
      }
      char* at = to.q + column / 64 * kColumnBytes +
                 tile_byte(static_cast<uint32_t>(c), static_cast<uint32_t>(column % 64));
      *reinterpret_cast<uint4*>(at) = eight;
    }
    if (thread < kN) {
      const int32_t token = thread / queries;
      to.position[thread] = token < tile.n_tokens ? tile.first_position + token : -1;
    }
    fence_async();
    sync();
  }

  __device__ void add_chunks(int32_t unit, int32_t last) {
    const int32_t n_chunks = last / kChunkPositions + 1;
    MM2_ROLLED
    for (int32_t chunk = 0; chunk < n_chunks; ++chunk) {
      add_chunk(chunk * kChunkPositions, last, head_of(a, unit));
      if (n_chunks == 1) break;
      const bool ends = chunk % kSuperChunks == kSuperChunks - 1 || chunk == n_chunks - 1;
      this->add(to.super, this->sums_of(0), to.chunk, to.y + thread, chunk % kSuperChunks == 0);
      if (ends && n_chunks > kSuperChunks) {
        this->add(to.all, this->sums_of(1), to.super, this->sums_of(0), chunk < kSuperChunks);
      }
    }
    if (n_chunks == 1) return this->write(unit, to.chunk, to.y + thread);
    if (n_chunks <= kSuperChunks) return this->write(unit, to.super, this->sums_of(0));
    this->write(unit, to.all, this->sums_of(1));
  }

  /// to.group.greatest of the tile and those before it, to.fade from the one before to it.
  __device__ void find_greatest(const float (&score)[kOwn]) {
    float x[2 * kPairs];
    MM2_UNROLL
    for (int i = 0; i < 2 * kPairs; ++i) {
      x[i] = fmaxf(score[i / 2 * 4 + i % 2], score[i / 2 * 4 + 2 + i % 2]);
    }
    this->combine(x, [](float one, float other) { return fmaxf(one, other); });
    this->leave_kept(x);
    sync();
    if (thread < kN) {
      const float before = to.group.greatest[thread];
      float greatest = before;
      MM2_UNROLL
      for (int w = 0; w < 4; ++w) greatest = fmaxf(greatest, to.warps[w][thread]);
      to.fade[thread] = exp2_fast(before - greatest);
      to.group.greatest[thread] = greatest;
    }
    sync();
  }

  /// 64 positions from `start` on; none is looked at that is not some token's.
  __device__ void add_tile(int32_t start, int32_t last, float factor, float (&y)[2][kOwn],
                           float (&total)[2 * kPairs]) {
    constexpr int kSteps = score_steps<number>(kDim);
    const char* keys = await_slot(ring, place);
    float score[kOwn];
    uint32_t k[kSteps][4], v[2][4][4];
    load_keys<number, kDim>(keys, kTilePositions, thread, k);
    const uint64_t q = k_major(tile_address(to.q));
    mma.fence();
    MM2_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      const uint64_t at = q + static_cast<uint64_t>(i / 4) * (kColumnBytes / 16) +
                          static_cast<uint64_t>(i % 4) * kStepKMajor;
      mma.template multiply<kN>(score, k[i], at, i > 0);
    }
    mma.commit();
    mma.template wait<0>(score);
    MM2_UNROLL
    for (int i = 0; i < kOwn; ++i) score[i] *= factor;
    if (start + kTilePositions - 1 > to.position[0]) hide_later(start, score);
    find_greatest(score);
    weigh(score, y, total);
    load_values<number, kDim>(keys + tile_half<number, kDim>(), last - start, thread,
                              v);  // behind the keys and scores, whose registers they take
    leave_slot(ring, place);
    fence_async();
    sync();
    const uint64_t p = k_major(tile_address(to.weights));
    mma.fence();
    MM2_UNROLL
    for (int step = 0; step < 4; ++step) {
      MM2_UNROLL
      for (int i = 0; i < 4; ++i) {  // both tiles of components, upper parts, then lower ones
        const uint64_t at = p + static_cast<uint64_t>(step) * kStepKMajor +
                            static_cast<uint64_t>(i / 2) * (kColumnBytes / 16);
        mma.template multiply<kN>(y[i % 2], v[i % 2][step], at, true);
      }
    }
    mma.commit();
    mma.template wait<0>(y[0]);
    mma.template wait<0>(y[1]);
  }

  /// Scores of positions behind a column's token: their weights become 0.
  __device__ void hide_later(int32_t start, float (&score)[kOwn]) const {
    const int32_t row = start + thread / 32 * 16 + thread % 32 / 4;
    MM2_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      if (row + i / 2 % 2 * 8 > to.position[column_of(i)]) score[i] = -INFINITY;
    }
  }

  /// Scores into weights, in shared memory as two numbers of BF16; fades what was there.
  __device__ void weigh(const float (&score)[kOwn], float (&y)[2][kOwn],
                        float (&total)[2 * kPairs]) {
    const int32_t lane = thread % 32, matrix = lane / 8;  // of the address that this lane gives
    char* column = to.weights + matrix / 2 * kColumnBytes +
                   tile_byte(static_cast<uint32_t>(lane % 8),
                             static_cast<uint32_t>(thread / 32 * 16 + matrix % 2 * 8));
    MM2_UNROLL
    for (int pair = 0; pair < kPairs; ++pair) {
      const int32_t c = column_of(pair * 4);
      const float2 fade = *reinterpret_cast<const float2*>(to.fade + c);
      const float2 greatest = *reinterpret_cast<const float2*>(to.group.greatest + c);
      float sums[2] = {total[pair * 2] * fade.x, total[pair * 2 + 1] * fade.y};
      uint32_t parts[4];  // upper ones of both rows, then lower ones
      MM2_UNROLL
      for (int lower = 0; lower < 2; ++lower) {
        const int reg = pair * 4 + lower * 2;
        MM2_UNROLL
        for (int m = 0; m < 2; ++m) {
          y[m][reg] *= fade.x;
          y[m][reg + 1] *= fade.y;
        }
        const float e0 = exp2_of_difference(score[reg] - greatest.x);
        const float e1 = exp2_of_difference(score[reg + 1] - greatest.y);
        const uint32_t high = round_to_pair(e0, e1);
        const float h0 = float_of(high << 16), h1 = float_of(high & 0xFFFF0000u);
        const uint32_t low = round_to_pair(e0 - h0, e1 - h1);
        sums[0] += h0 + float_of(low << 16);
        sums[1] += h1 + float_of(low & 0xFFFF0000u);
        parts[lower] = high;
        parts[2 + lower] = low;
      }
      total[pair * 2] = sums[0];
      total[pair * 2 + 1] = sums[1];
      store_transposed(column + pair * 8 * kTileRowBytes, parts);
    }
  }

  /// The chunk from `first` on: its four groups, ascending.
  __device__ void add_chunk(int32_t first, int32_t last, int32_t kv_head) {
    const float factor = score_factor<number, kDim>(s, kv_head);
    MM2_ROLLED
    for (int32_t start = first; start < first + kChunkPositions && start <= last;
         start += kGroupPositions) {
      float y[2][kOwn], total[2 * kPairs];
      MM2_UNROLL
      for (int i = 0; i < kOwn; ++i) y[0][i] = y[1][i] = 0.0f;
      MM2_UNROLL
      for (int i = 0; i < 2 * kPairs; ++i) total[i] = 0.0f;
      if (thread < kN) to.group.greatest[thread] = kLowestScore;
      MM2_ROLLED
      for (int32_t at = start; at < start + kGroupPositions && at <= last; at += kTilePositions) {
        add_tile(at, last, factor, y, total);
      }
      this->finish_group(total);
      this->add_group(y, start == first);
    }
  }

  const Ring ring;
  RingPlace place;
  Wgmma mma;
};

}  // namespace mm2::kernels::cuda
