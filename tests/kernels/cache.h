// A KV cache with block numbers in disorder, every byte NaN at first.
#pragma once

#include "kernels/cpu/layout/kv.h"
#include "kernels/ref/kv_cache.h"
#include "kernels/support.h"

namespace support {

class Cache {
 public:
  Cache(const Backend& backend, const ModelShape& s, int32_t number, int32_t block_size,
        int32_t n_blocks)
      : shape_(s),
        is_ref_(backend.keeps_file_layout),
        memory_(backend.kv_block_bytes(&s, block_size, number) * n_blocks, 0xFF) {
    kv = {memory_.get(), 0, backend.kv_block_bytes(&s, block_size, number), block_size, number};
    for (int32_t b = 0; b < n_blocks; ++b) blocks.push_back(n_blocks - 1 - b);
    for (int32_t head = 0; head < s.n_kv_heads; ++head) {
      k_scales_.push_back(0.01f + 0.003f * static_cast<float>(head));
      v_scales_.push_back(0.02f - 0.004f * static_cast<float>(head % 4));
    }
    if (number != kE4M3) return;
    kv.k_scales = k_scales_.data();
    kv.v_scales = v_scales_.data();
  }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  StepRow row(int32_t first_token, int32_t n_tokens, int32_t first_position) const {
    return {first_token, n_tokens, first_position, 0, blocks.data()};
  }

  /// Where component d of K or V of one position lies.
  void* slot(int64_t position, int32_t kv_head, int32_t d, bool is_value) const {
    const StepRow r = row(0, 1, 0);
    if (is_ref_) {
      const auto at = ref::kv_slot(kv, shape_, r, 0, position);
      const int64_t i = kv_head * shape_.head_dim + d + (is_value ? at.v_offset : 0);
      return static_cast<char*>(at.k) + i * bytes_of(kv.number);
    }
    const layout::KvUnit u = layout::kv_unit_of(shape_, kv.number);
    const int64_t lane = position % kAttentionBlock;
    return layout::kv_unit_at(kv, u, r, 0, kv_head, position) +
           (is_value ? layout::value_offset(u, lane, d) : layout::key_offset(u, lane, d));
  }

  void put(int64_t position, int32_t kv_head, int32_t d, bool is_value, float x) const {
    ref::store(slot(position, kv_head, d, is_value), kv.number, 0, x / scale(kv_head, is_value));
  }

  float get(int64_t position, int32_t kv_head, int32_t d, bool is_value) const {
    return ref::load<float>(slot(position, kv_head, d, is_value), kv.number, 0) *
           scale(kv_head, is_value);
  }

  /// 1 but for kE4M3.
  float scale(int32_t kv_head, bool is_value) const {
    const auto i = static_cast<size_t>(kv_head);
    return kv.number != kE4M3 ? 1.0f : is_value ? v_scales_[i] : k_scales_[i];
  }

  KvCache kv{};
  std::vector<int32_t> blocks;

 private:
  ModelShape shape_;
  bool is_ref_;
  Memory memory_;
  std::vector<float> k_scales_, v_scales_;  // [n_kv_heads], of the only layer
};

}  // namespace support
