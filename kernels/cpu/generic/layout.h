// Where things lie: packed weights, activations inside an operation, keys and values.
//
// Weights: blocks of 64 rows, one after the other. Lanes are rows; K runs in pairs, padded with
// zeros to an even length, and so are the rows to a multiple of 64.
//   kBF16, kF16: for each pair, 64 dwords; dword i of row i: K even low, K odd high
//   kF32:        for each pair, 64 floats of K even, then 64 of K odd
//
// Activations: rows of floats, already rounded as the caller asked, at a distance of
// activation_stride, which keeps rows of 3072 numbers out of each other's cache sets. The number
// after an odd n_in is 0.
//
// KV block: for each KV head, for each 64 positions: K [head_dim, 64], then V [64, value_stride].
// Row r of K holds component r ^ 1, which is the order in which scores add them.
#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/types.h"

namespace mm2::kernels::generic {

constexpr int64_t kBlockRows = 64;

static inline int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

static inline int64_t n_blocks(int64_t n_out) {
  return (n_out + kBlockRows - 1) / kBlockRows;
}
static inline int64_t n_pairs(int64_t n_in) {
  return (n_in + 1) / 2;
}

static inline int64_t block_bytes(int32_t number, int64_t n_in) {
  return n_pairs(n_in) * 2 * kBlockRows * bytes_of(number);
}

static inline const char* block_of(const Matrix& w, int64_t block) {
  return static_cast<const char*>(w.data) + block * block_bytes(w.number, w.n_in);
}

static inline int64_t activation_stride(int64_t n_in) {
  return round_up(n_in + 1, 16) + 16;
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
