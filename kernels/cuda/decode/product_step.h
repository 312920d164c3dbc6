// The products of a decoding step: what each of the five kernels multiplies, by what, and where the
// result goes. One kernel does them all; only the activations that it stages and what it does with a
// finished block differ.
#pragma once

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/common/product.h"
#include "kernels/cuda/decode/ring.h"
#include "kernels/cuda/decode/step_input.h"

namespace mm2::kernels::cuda {

enum Task : int32_t {
  kQkvTask = 0,     // y = norm(h) w^T for q, k, v
  kOTask = 1,       // h += attention w^T
  kGateUpTask = 2,  // act = silu(norm(h) gate^T) * (norm(h) up^T), for each expert that was chosen
  kDownTask = 3,    // h += sum of share * (act down^T), experts ascending
  kHeadTask = 4     // logits = norm(h) w^T, for the rows that want them
};

/// Threads: a warpgroup that multiplies, and a warp one thread of which has weights copied.
constexpr int32_t kConsumers = kWarpgroup;
constexpr int32_t kProductThreads = kConsumers + 32;
/// Bytes of the activations of 8 tokens for 64 columns: a K-major tile of wgmma's B.
constexpr int32_t kXTileBytes = kDecodeTokens * kTileRowBytes;
constexpr int32_t kMostXBytes = kMostPieceRecords * 2 * kXTileBytes;

struct ProductStep {
  int32_t task;
  Records records;  // of every matrix
  int32_t n_records, n_in;
  Cut cut;
  // Dense tasks: up to three matrices one behind the other.
  WeightView matrices[3];
  int32_t first_block[4];  // of each, and the end
  int32_t first_row[3];    // of each in a row of y
  int32_t n_out[3];
  int64_t block_bytes;
  // Tasks of experts.
  const DeviceExpert* experts;  // [n_experts]
  const Routing* routing;
  int32_t blocks_of_expert;
  // Activations: norm(h), or rows of BF16.
  const float* h;     // [step_tokens, hidden]
  const float* norm;  // [hidden]
  float eps;
  const uint16_t* rows;  // kOTask: [n_tokens, n_in]; kDownTask: [n_touched, 8, n_in]
  const StepInput* input;
  // Results.
  float* y;       // kQkvTask, kHeadTask: [.., y_stride]; kOTask, kDownTask: h
  uint16_t* act;  // kGateUpTask: [n_touched, 8, n_out]
  int64_t y_stride;
  // Of blocks whose columns several units share.
  float4* partials;
  uint32_t* counters;  // 0 before and after
  // Weights that a later kernel will want, and this one asks into the second-level cache.
  const char* ahead[4];
  int64_t ahead_bytes[4];
};

/// A unit of a task: one piece of one block.
struct Unit {
  int32_t entry;  // of Routing::experts, 0 in dense tasks
  int32_t piece, block;
  int32_t group, part, n_parts;  // which sum it is a part of
};

/// Units in the order in which blocks of threads share them: those that need the same activations are
/// neighbours. n_entries: experts that were chosen, 1 in dense tasks.
MM2_HD static inline int64_t n_units(const Cut& cut, int32_t n_blocks, int32_t n_entries) {
  return int64_t{n_blocks} * cut.n_pieces * n_entries;
}
MM2_HD static inline Unit unit_at(int32_t task, const Cut& cut, int32_t n_blocks, int32_t n_entries,
                                  int64_t i) {
  Unit u{};
  u.block = static_cast<int32_t>(i % n_blocks);
  const auto rest = static_cast<int32_t>(i / n_blocks);
  if (task == kDownTask) {  // the activations are the expert's
    u.entry = rest / cut.n_pieces;
    u.piece = rest % cut.n_pieces;
    u.group = u.block;
    u.part = rest;
    u.n_parts = n_entries * cut.n_pieces;
  } else {
    u.entry = rest % n_entries;
    u.piece = rest / n_entries;
    u.group = u.entry * n_blocks + u.block;
    u.part = u.piece;
    u.n_parts = cut.n_pieces;
  }
  return u;
}

/// Which activations a unit needs.
MM2_HD static inline int32_t x_key(int32_t task, const Cut& cut, const Unit& u) {
  return task == kDownTask ? u.entry * cut.n_pieces + u.piece : u.piece;
}

/// Partial sums: a float4 of each thread, gate then up where there are two.
MM2_HD static inline int32_t sums_of_unit(int32_t task) {
  return task == kGateUpTask ? 2 : 1;
}

/// Shared memory of the kernel, and where its parts lie.
struct ProductShared {
  int32_t slot_bytes, n_slots;
  int32_t ring, barriers, small, bytes;  // offsets; activations are at 0
};
MM2_HD static inline ProductShared product_shared(int32_t record_bytes, int32_t piece_records) {
  ProductShared s{};
  s.slot_bytes = record_bytes;
  s.n_slots = n_slots_of(record_bytes);
  s.ring = piece_records * 2 * kXTileBytes;
  s.barriers = s.ring + s.n_slots * s.slot_bytes;
  s.small = s.barriers + 2 * s.n_slots * 8;
  s.small = (s.small + 15) / 16 * 16;
  s.bytes = s.small + 128;
  return s;
}

/// Starts it on n_blocks blocks of threads; the results have the same bits with any number.
cudaError_t run_product(const ProductStep& p, const Decoded& d, int32_t n_blocks, bool overlaps,
                        cudaStream_t stream);
/// Once for each device, before the first: shared memory beyond what a kernel gets unasked.
cudaError_t prepare_products(const Decoded& d);

}  // namespace mm2::kernels::cuda
