// Shared memory of prefill_attention: what each warpgroup keeps of its queries, and the ring of tiles of
// keys and values that all of them read.
#pragma once

#include "kernels/cuda/decode/attention_sums.h"
#include "kernels/cuda/decode/attention_tile.h"
#include "kernels/cuda/decode/ring.h"
#include "kernels/cuda/prefill/attention.h"

namespace mm2::kernels::cuda {

constexpr int32_t kN = kQueryColumns;
constexpr int32_t kOwn = kN / 2,
                  kPairs = kN / 8;  // numbers of a thread in a product, pairs of columns
constexpr int32_t kGroupThreads = 128;
constexpr int32_t kTileThreads = (kQueryGroups + 1) * kGroupThreads;
constexpr int32_t kColumnBytes = kN * kTileRowBytes;
constexpr int32_t kGroupPositions = kChunkPositions / 4;
constexpr int32_t kMostTileSlots = 8;

/// A tile and a KV head, by the unit's number: looked up where they are wanted, because registers are few.
__device__ inline const QueryTile& tile_of(const PrefillAttention& a, int32_t unit) {
  return a.tiles[unit / a.step.n_kv_heads];
}
__device__ inline int32_t head_of(const PrefillAttention& a, int32_t unit) {
  return unit % a.step.n_kv_heads;
}

/// Of each column: greatest score and sum of weights of some positions.
struct Tops {
  float greatest[kN], total[kN];
};

struct alignas(kSwizzleBytes) GroupShared {
  char q[2 * kColumnBytes];           // of 128 columns of components
  char weights[2 * kColumnBytes];     // upper parts, then lower ones
  float y[2 * kOwn * kGroupThreads];  // of the chunk, own numbers of each thread
  float warps[4][kN];
  Tops group, chunk, super, all;
  float fade[kN], of_later[kN];
  int32_t position[kN];  // of the column's token, -1 = none
};

struct TileShared {
  GroupShared groups[kQueryGroups];
  Mbarrier full[kMostTileSlots], empty[kMostTileSlots];
};
constexpr int64_t kTileSlots = (sizeof(TileShared) + 127) / 128 * 128;  // where slots begin
constexpr int64_t kMostTileShared = 227 << 10;

/// Keys of 64 positions, then values.
template <int32_t number, int32_t kDim>
MM2_HD constexpr int32_t tile_half() {
  return kTilePositions * kDim * (number == kE4M3 ? 1 : 2);
}
template <int32_t number, int32_t kDim>
MM2_HD constexpr int32_t tile_slots() {
  const int64_t n = (kMostTileShared - kTileSlots) / (2 * tile_half<number, kDim>());
  return static_cast<int32_t>(n < kMostTileSlots ? n : kMostTileSlots);
}
template <int32_t number, int32_t kDim>
MM2_HD constexpr int64_t tile_shared_bytes() {
  return kTileSlots + int64_t{tile_slots<number, kDim>()} * 2 * tile_half<number, kDim>();
}

template <int32_t number, int32_t kDim>
__device__ inline Ring tile_ring(TileShared& shared) {
  static_assert(tile_slots<number, kDim>() >= 2);
  return {reinterpret_cast<char*>(&shared) + kTileSlots, shared.full, shared.empty,
          tile_slots<number, kDim>(), 2 * tile_half<number, kDim>()};
}

}  // namespace mm2::kernels::cuda
