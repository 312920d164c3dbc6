// Where keys and values lie in this backend's cache: a KV block is K [block_size, kv_width], then V
// [block_size, kv_width], with kv_width = n_kv_heads * head_dim.
#pragma once

#include "kernels/ref/number.h"

namespace mm2::kernels::ref {

/// The K values of one position of a sequence; those of V lie `v_offset` numbers further.
struct KvSlot {
  void* k;
  int64_t v_offset;
};

inline KvSlot kv_slot(const KvCache& kv, const ModelShape& s, const StepRow& row, int32_t layer,
                      int64_t position) {
  const int64_t width = int64_t{s.n_kv_heads} * s.head_dim;
  const int64_t block = row.blocks[position / kv.block_size];
  char* base = static_cast<char*>(kv.data) + layer * kv.layer_stride + block * kv.block_stride;
  return {base + position % kv.block_size * width * bytes_of(kv.number), kv.block_size * width};
}

/// What a stored number of one KV head is multiplied by: 1 but for kE4M3.
inline float kv_scale(const KvCache& kv, const ModelShape& s, const float* scales, int32_t layer,
                      int64_t kv_head) {
  return kv.number == kE4M3 ? scales[int64_t{layer} * s.n_kv_heads + kv_head] : 1.0f;
}

/// The row that owns token t of a step.
inline const StepRow& row_of(const StepRow* rows, int32_t n_rows, int32_t token) {
  int32_t r = 0;
  while (r + 1 < n_rows && rows[r + 1].first_token <= token) ++r;
  return rows[r];
}

}  // namespace mm2::kernels::ref
