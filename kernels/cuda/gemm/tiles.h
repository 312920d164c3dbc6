// Activations as products of many tokens read them, and who takes which part of a product.
//
// A tile is `width` tokens of one matrix, as BF16: for each record of 128 columns two K-major tiles of
// wgmma's B (fragments.h), columns 0-63 and 64-127. So one bulk copy brings what meets a record of weights,
// and 64 rows of one product's result are half a record of the next one's activations.
// Tokens of an expert fill tiles in ascending order; rows and columns that are not there are 0.
#pragma once

#include "kernels/cuda/common/fragments.h"
#include "kernels/cuda/decode/plan.h"

namespace mm2::kernels::cuda {

constexpr int32_t kWidths[] = {16, 32, 64, 128};
constexpr int32_t kMostWidth = 128;

/// Bytes of what meets one record.
MM2_HD static inline int64_t tile_record_bytes(int32_t width) {
  return int64_t{width} * 2 * kTileRowBytes;
}
MM2_HD static inline int64_t tile_bytes(int32_t width, int64_t n_records) {
  return tile_record_bytes(width) * n_records;
}
/// Of column k of token `row` of a tile.
MM2_HD static inline int64_t place_in_tile(int32_t width, int32_t row, int64_t k) {
  return k / kTileColumns * width * kTileRowBytes +
         tile_byte(static_cast<uint32_t>(row), static_cast<uint32_t>(k % kTileColumns));
}

/// The width for n_pairs tokens over n_matrices: a tile that most of them fill, but for the last one.
/// It changes no bits.
MM2_HD static inline int32_t width_for(int64_t n_pairs, int64_t n_matrices) {
  const int64_t each = divide_up(n_pairs, n_matrices);
  return each <= 10 ? 16 : each <= 24 ? 32 : each <= 56 ? 64 : 128;
}

/// Tiles that n_pairs tokens over n_matrices fill, at most.
MM2_HD static inline int64_t most_tiles(int64_t n_pairs, int64_t n_matrices, int32_t width) {
  const int64_t touched = n_pairs < n_matrices ? n_pairs : n_matrices;
  return (n_pairs + touched * (width - 1)) / width;
}

/// What a block of threads does at once: two blocks of 64 rows (of two matrices where they belong
/// together), over one piece of the columns or over all, for one tile.
struct Item {
  int32_t unit, piece, tile;
};
/// Items whose weights are neighbours' come first, then the pieces, then the tiles: at any time blocks of
/// threads share few tiles, which stay in the second-level cache with the weights of one expert.
MM2_HD static inline Item item_at(int64_t i, int32_t n_units, int32_t n_pieces) {
  const int64_t rest = i / n_units;
  return {static_cast<int32_t>(i % n_units), static_cast<int32_t>(rest % n_pieces),
          static_cast<int32_t>(rest / n_pieces)};
}

/// Whether the pieces of a dense product are shared out: where there would be too few items otherwise.
MM2_HD static inline bool splits_pieces(int64_t n_units, int64_t n_tiles, int32_t n_pieces,
                                        int32_t n_processors) {
  return n_pieces > 1 && n_units * n_tiles < 2 * int64_t{n_processors};
}

/// Shared memory of a block of threads.
struct GemmShared {
  int32_t stage_bytes, n_stages;
  int32_t sums, barriers, bytes;  // offsets; stages are at 0
};
/// sums: an F32 for each number of both blocks of rows. 227 KiB are what a block may have.
MM2_HD static inline GemmShared gemm_shared(int32_t width, int32_t record_bytes) {
  constexpr int32_t kMost = 227 << 10, kMostStages = 8, kBarrierBytes = 2 * kMostStages * 8;
  GemmShared s{};
  const int64_t stage = round_up(tile_record_bytes(width) + 2 * record_bytes, kSwizzleBytes);
  const int32_t sums = 2 * 64 * width * 4;
  s.stage_bytes = static_cast<int32_t>(stage);
  s.n_stages = (kMost - sums - kBarrierBytes) / s.stage_bytes;
  if (s.n_stages > kMostStages) s.n_stages = kMostStages;
  s.sums = s.n_stages * s.stage_bytes;
  s.barriers = s.sums + sums;
  s.bytes = s.barriers + kBarrierBytes;
  return s;
}

}  // namespace mm2::kernels::cuda
