// How the work of a decoding step is cut, and what a step costs: bytes read and kernels launched. All
// of it follows from shapes, formats and positions; nothing from the device, the batch or the run. So
// the order of all additions, which follows from the cuts, is the same everywhere.
//
// A product is cut into units: a block of 64 rows times a piece of the records along K. A piece is one
// chain of additions in the tensor core per sum group, from zero; pieces are added ascending.
//
// Attention is cut into chunks of 512 positions, counted from the first of the sequence, and those into
// supers of 16. The sums of a chunk begin anew; the chunks of a super are added ascending, then the
// supers are. Which blocks of threads take which chunks follows from how many there are (share_of).
#pragma once

#include "kernels/api/backend.h"
#include "kernels/cuda/layout/weights.h"

namespace mm2::kernels::cuda {

/// Multiprocessors that cuts are made for, whatever the device has: a cut changes bits.
constexpr int32_t kPlannedProcessors = 132;
/// Tokens of a decoding step at most: the N of one wgmma.
constexpr int32_t kDecodeTokens = 8;
/// Records of a piece at most: activations of 8 tokens take 2 KiB of shared memory for each.
constexpr int32_t kMostPieceRecords = 24;
/// Positions of a chunk, and chunks of a super.
constexpr int32_t kChunkPositions = 512;
constexpr int32_t kSuperChunks = 16;

MM2_HD static inline int64_t divide_up(int64_t n, int64_t by) {
  return (n + by - 1) / by;
}

/// Things [first, end) of n that share i of n_shares takes: as even as it goes, in order.
struct Share {
  int64_t first, end;
};
MM2_HD static inline Share share_of(int64_t n, int64_t n_shares, int64_t i) {
  return {n * i / n_shares, n * (i + 1) / n_shares};
}

/// The cut of a product along K.
struct Cut {
  int32_t piece_records, n_pieces;
};

/// n_blocks: blocks of 64 rows that one launch goes over, with all experts of a token; together: records
/// that a unit reads for each of its K (2 for gate and up). The cut with the least time of the
/// multiprocessor that has most to do, where a unit costs as much as one record more; of equal ones the
/// longest pieces. All but the last piece are of one length.
MM2_HD static inline Cut cut_of(int64_t n_blocks, int64_t n_records, int32_t together) {
  Cut best{1, static_cast<int32_t>(n_records)};
  int64_t least = INT64_MAX;
  for (int64_t n_pieces = divide_up(n_records, kMostPieceRecords); n_pieces <= n_records;
       ++n_pieces) {
    const int64_t piece = divide_up(n_records, n_pieces);
    if (divide_up(n_records, piece) != n_pieces) continue;
    const int64_t rounds = divide_up(n_blocks * n_pieces, kPlannedProcessors);
    const int64_t time = rounds * (piece * together + 1);
    if (time >= least) continue;
    least = time;
    best = {static_cast<int32_t>(piece), static_cast<int32_t>(n_pieces)};
  }
  return best;
}

/// The cuts of one model.
struct DecodeCuts {
  Cut qkv, o, gate_up, down, head;
};
MM2_HD static inline DecodeCuts cuts_of(const ModelShape& s) {
  const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
  const auto blocks = [](int64_t n) { return divide_up(n, kBlockRows); };
  const auto records = [](int64_t n) { return divide_up(n, kRecordCols); };
  return {cut_of(blocks(q) + 2 * blocks(kv), records(s.hidden), 1),
          cut_of(blocks(s.hidden), records(q), 1),
          cut_of(s.top_k * blocks(s.intermediate), records(s.hidden), 2),
          cut_of(s.top_k * blocks(s.hidden), records(s.intermediate), 1),
          cut_of(blocks(s.n_vocab), records(s.hidden), 1)};
}

/// Chunks that a query at `position` sees, and supers.
MM2_HD static inline int64_t chunks_of(int64_t position) {
  return position / kChunkPositions + 1;
}
MM2_HD static inline int64_t supers_of(int64_t position) {
  return position / kChunkPositions / kSuperChunks + 1;
}

/// What a layer's weights take, in bytes of the packed matrices.
struct LayerBytes {
  int64_t attention, router, expert;
};
/// What one step reads of weights and of the cache.
struct StepBytes {
  int64_t attention, router, experts, head, kv;
  int64_t all() const { return attention + router + experts + head + kv; }
};

/// n_touched: experts that the step's tokens chose, summed over the layers. positions: the position of
/// each token of the step; kv_row_bytes: of one position in one layer.
static inline StepBytes step_bytes(const ModelShape& s, const LayerBytes& layer, int64_t head,
                                   int64_t n_touched,
                                   const int32_t* positions,  // [n_tokens]
                                   int32_t n_tokens, int64_t kv_row_bytes) {
  StepBytes b{};
  b.attention = s.n_layers * layer.attention;
  b.router = s.n_layers * layer.router;
  b.experts = n_touched * layer.expert;
  b.head = head;
  for (int32_t t = 0; t < n_tokens; ++t) {
    b.kv += s.n_layers * (int64_t{positions[t]} + 1) * kv_row_bytes;
  }
  return b;
}

/// K and V of one position in one layer.
static inline int64_t kv_row_bytes(const ModelShape& s, int32_t number) {
  return 2 * int64_t{s.n_kv_heads} * s.head_dim * bytes_of(number);
}

/// Experts of a layer that n_tokens tokens choose together, on average, where every choice is as
/// likely as any other.
static inline double expected_experts(const ModelShape& s, int32_t n_tokens) {
  double none = 1;
  for (int32_t t = 0; t < n_tokens; ++t) none *= 1 - static_cast<double>(s.top_k) / s.n_experts;
  return s.n_experts * (1 - none);
}

/// Kernels of a step. For each 8 tokens: rows and angles; in each layer qkv, attention, o, router, gate and
/// up, down, or one for all layers. How rows ended; the head for each 8 outputs.
constexpr int32_t kLaunchesPerLayer = 6;
MM2_HD static inline int64_t step_launches(const ModelShape& s, int64_t n_tokens, int64_t n_outputs,
                                           bool is_resident = false) {
  const int64_t of_layers = is_resident ? 1 : int64_t{kLaunchesPerLayer} * s.n_layers;
  return divide_up(n_tokens, kDecodeTokens) * (1 + of_layers) + 1 +
         divide_up(n_outputs, kDecodeTokens);
}

}  // namespace mm2::kernels::cuda
