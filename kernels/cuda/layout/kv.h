// Where keys and values lie in a device's memory. A block is, for each KV head, its keys
// [block_size, head_dim], then its values [block_size, head_dim]: rows of numbers (kF32, kBF16,
// kE4M3) filled up to 16 bytes.
#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/types.h"

namespace mm2::kernels::cuda {

struct KvLayout {
  int32_t number;
  int32_t block_size;   // positions
  int64_t row_bytes;    // of one position of one head
  int64_t half_bytes;   // of the keys of a head in a block, and of its values
  int64_t block_bytes;  // of all heads
};

MM2_HD static inline KvLayout kv_layout_of(const ModelShape& s, int32_t block_size,
                                           int32_t number) {
  KvLayout l{};
  l.number = number;
  l.block_size = block_size;
  l.row_bytes = (s.head_dim * bytes_of(number) + 15) / 16 * 16;
  l.half_bytes = l.row_bytes * block_size;
  l.block_bytes = l.half_bytes * 2 * s.n_kv_heads;
  return l;
}

/// Bytes from the start of a block to the key of a head at a position in the block; the value is
/// half_bytes further.
MM2_HD static inline int64_t key_place(const KvLayout& l, int32_t kv_head, int64_t in_block) {
  return kv_head * 2 * l.half_bytes + in_block * l.row_bytes;
}

/// One number of the cache, before its scale.
MM2_HD static inline float kv_number_at(int32_t number, const char* row, int64_t d) {
  if (number == kE4M3) return e4m3_to_f32(static_cast<uint8_t>(row[d]));
  if (number == kBF16) {
    uint16_t half;
    memcpy(&half, row + 2 * d, 2);
    return bf16_to_f32(half);
  }
  float x;
  memcpy(&x, row + 4 * d, 4);
  return x;
}

/// x as the cache keeps it; `scale` is that of kE4M3.
MM2_HD static inline void store_kv_number_at(int32_t number, float x, float scale, char* row,
                                             int64_t d) {
  if (number == kE4M3) {
    row[d] = static_cast<char>(f32_to_e4m3(x / scale));
  } else if (number == kBF16) {
    const uint16_t half = f32_to_bf16(x);
    memcpy(row + 2 * d, &half, 2);
  } else {
    memcpy(row + 4 * d, &x, 4);
  }
}

}  // namespace mm2::kernels::cuda
