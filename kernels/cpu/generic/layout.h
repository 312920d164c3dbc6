// Where things lie: activations inside an operation, keys and values. Packed weights:
// kernels/cpu/layout/weights.h.
//
// Activations: rows of floats, already rounded as the caller asked, at a distance of
// activation_stride, which keeps rows of 3072 numbers out of each other's cache sets. Numbers from
// n_in up to a whole sum group are 0.
//
// KV block: for each KV head, for each 64 positions: K [head_dim, 64], then V [64, value_stride].
// Row r of K holds component r ^ 1, which is the order in which scores add them.
#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/types.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::generic {

using layout::block_at;
using layout::Blocks;
using layout::blocks_of;
using layout::kBlockRows;
using layout::n_blocks;
using layout::n_pairs;
using layout::round_up;

static inline int64_t activation_stride(int64_t n_in) {
  return round_up(n_in, kSumGroup) + 16;
}

/// Zeros from n_in up to a whole sum group.
static inline void pad_row(float* row, int64_t n_in) {
  for (int64_t i = n_in; i < round_up(n_in, kSumGroup); ++i) row[i] = 0.0f;
}

static inline int64_t value_stride(const ModelShape& s) {
  return round_up(s.head_dim, 8);
}

/// Numbers in 64 positions of one KV head.
static inline int64_t kv_unit(const ModelShape& s) {
  return kAttentionBlock * (s.head_dim + value_stride(s));
}

/// The unit that holds a position of a sequence.
static inline char* kv_unit_at(const KvCache& kv, const ModelShape& s, const StepRow& row,
                               int32_t layer, int32_t kv_head, int64_t position) {
  const int64_t units = kv.block_size / kAttentionBlock;
  const int64_t unit = kv_head * units + position % kv.block_size / kAttentionBlock;
  return static_cast<char*>(kv.data) + layer * kv.layer_stride +
         row.blocks[position / kv.block_size] * kv.block_stride +
         unit * kv_unit(s) * bytes_of(kv.number);
}

/// Floats of scratch, cut off one after the other; from null it only counts.
struct Cutter {
  char* base;
  int64_t bytes = 0;

  template <typename T>
  T* take(int64_t n) {
    T* here = base == nullptr ? nullptr : reinterpret_cast<T*>(base + bytes);
    bytes += round_up(n * int64_t{sizeof(T)}, 64);
    return here;
  }
};

}  // namespace mm2::kernels::generic
