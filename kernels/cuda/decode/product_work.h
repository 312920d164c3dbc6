// What a block of threads of a product goes over, and the thread that has its weights copied.
#pragma once

#include "kernels/cuda/decode/product_step.h"

namespace mm2::kernels::cuda {

__device__ inline bool of_experts(int32_t task) {
  return task == kGateUpTask || task == kDownTask;
}

/// What one block of threads goes over.
struct Work {
  int32_t n_blocks, n_entries;
  Share units;
};
__device__ inline Work work_of(const ProductStep& p) {
  Work w{p.first_block[3], 1, {}};
  if (of_experts(p.task)) {
    w.n_blocks = p.blocks_of_expert;
    w.n_entries = __ldcg(&p.routing->n_touched);
  }
  w.units = share_of(n_units(p.cut, w.n_blocks, w.n_entries), gridDim.x, blockIdx.x);
  return w;
}

__device__ inline int32_t matrix_of(const ProductStep& p, int32_t block) {
  return block >= p.first_block[2] ? 2 : block >= p.first_block[1] ? 1 : 0;
}

__device__ inline int32_t records_of_piece(const ProductStep& p, int32_t piece) {
  const int32_t left = p.n_records - piece * p.cut.piece_records;
  return left < p.cut.piece_records ? left : p.cut.piece_records;
}

/// This block's share of some bytes, asked into the second-level cache.
__device__ inline void ask_ahead(const char* from, int64_t n_bytes) {
  constexpr int64_t kAsked = 16 << 10;  // at a time
  const Share parts = share_of(divide_up(n_bytes, kAsked), gridDim.x, blockIdx.x);
  for (int64_t i = parts.first; i < parts.end; ++i) {
    const int64_t left = n_bytes - i * kAsked;
    prefetch_l2(from + i * kAsked, static_cast<unsigned>(left < kAsked ? left : kAsked));
  }
}

/// The one thread that has records copied: those of each unit, in the order in which they are wanted.
/// The weights of dense tasks never change; experts must have been chosen.
__device__ inline void produce(const ProductStep& p, const Ring& ring, RingPlace& place) {
  const Work work = work_of(p);
  const auto bytes = static_cast<unsigned>(p.records.bytes);
  const auto copy = [&](const WeightView& w, int32_t block, int32_t piece) {
    const char* from =
        w.data + block * p.block_bytes + int64_t{piece} * p.cut.piece_records * p.records.bytes;
    const int32_t n = records_of_piece(p, piece);
    for (int32_t r = 0; r < n; r += ring.per_slot, from += ring.per_slot * bytes) {
      const int32_t here = n - r < ring.per_slot ? n - r : ring.per_slot;
      fill_slot(ring, place, from, static_cast<unsigned>(here) * bytes);
    }
  };
  for (int64_t i = work.units.first; i < work.units.end; ++i) {
    const Unit u = unit_at(p.task, p.cut, work.n_blocks, work.n_entries, i);
    if (!of_experts(p.task)) {
      const int32_t m = matrix_of(p, u.block);
      copy(p.matrices[m], u.block - p.first_block[m], u.piece);
      continue;
    }
    const DeviceExpert& expert = p.experts[__ldcg(p.routing->experts + u.entry)];
    if (p.task == kDownTask) {
      copy(view_of(expert.down), u.block, u.piece);
    } else {
      copy(view_of(expert.gate), u.block, u.piece);
      copy(view_of(expert.up), u.block, u.piece);
    }
  }
  for (int i = 0; i < 4; ++i) ask_ahead(p.ahead[i], p.ahead_bytes[i]);
}

}  // namespace mm2::kernels::cuda
