// The same keys and values in a cache of the CPU's and in one of the device.
#pragma once

#include "kernels/cpu/layout/kv.h"
#include "kernels/cuda/device_step.h"

namespace support {

class TwoCaches {
 public:
  TwoCaches(const ModelShape& s, int32_t number, int32_t block_size, int32_t n_blocks)
      : shape_(s),
        layout_(cuda::kv_layout_of(s, block_size, number)),
        host_(generic_backend()->kv_block_bytes(&s, block_size, number) * n_blocks, 0xFF),
        device_(layout_.block_bytes * n_blocks, 0xFF) {
    for (int32_t head = 0; head < s.n_kv_heads; ++head) {
      k_scales_.push_back(0.01f + 0.003f * static_cast<float>(head));
      v_scales_.push_back(0.02f - 0.004f * static_cast<float>(head % 4));
    }
    const bool scales = number == kE4M3;
    host = {host_.get(), 0, generic_backend()->kv_block_bytes(&s, block_size, number), block_size,
            number};
    host.k_scales = scales ? k_scales_.data() : nullptr;
    host.v_scales = scales ? v_scales_.data() : nullptr;
    device = {static_cast<char*>(device_.get()),
              0,
              layout_.block_bytes,
              layout_,
              host.k_scales,
              host.v_scales,
              host.k_scales,
              host.v_scales,
              nullptr};
  }
  TwoCaches(const TwoCaches&) = delete;
  TwoCaches& operator=(const TwoCaches&) = delete;

  /// K and V of one position of a row, in both.
  void put(const DeviceRows& rows, size_t row, int64_t position, const float* k, const float* v) {
    layout::store_position(host, shape_, rows.host()[row], 0, position, k, v);
    for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
      char* to = key(rows, row, head, position);
      const auto at = static_cast<size_t>(head);
      const bool scales = layout_.number == kE4M3;
      for (int32_t d = 0; d < shape_.head_dim; ++d) {
        const int32_t i = head * shape_.head_dim + d;
        cuda::store_kv_number_at(layout_.number, k[i], scales ? k_scales_[at] : 1.0f, to, d);
        cuda::store_kv_number_at(layout_.number, v[i], scales ? v_scales_[at] : 1.0f,
                                 to + layout_.half_bytes, d);
      }
    }
  }

  char* key(const DeviceRows& rows, size_t row, int32_t head, int64_t position) const {
    const int32_t block = rows.blocks[static_cast<size_t>(rows.rows[row].first_block +
                                                          position / layout_.block_size)];
    return device.data + block * device.block_stride +
           cuda::key_place(layout_, head, position % layout_.block_size);
  }

  /// Positions of a row as Backend::read_positions has them.
  std::vector<char> of_host(const DeviceRows& rows, size_t row, int64_t first, int64_t n) const {
    std::vector<char> to(bytes(n));
    const StepRow host_row = rows.host()[row];
    layout::read_positions(&host, &shape_, &host_row, first, n, to.data());
    return to;
  }
  std::vector<char> of_device(const DeviceRows& rows, size_t row, int64_t first, int64_t n) const {
    std::vector<char> to(bytes(n));
    const auto head_bytes = static_cast<size_t>(shape_.head_dim * bytes_of(layout_.number));
    char* at = to.data();
    for (int64_t p = first; p < first + n; ++p) {
      for (const int64_t half : {int64_t{0}, layout_.half_bytes}) {
        for (int32_t head = 0; head < shape_.n_kv_heads; ++head, at += head_bytes) {
          std::memcpy(at, key(rows, row, head, p) + half, head_bytes);
        }
      }
    }
    return to;
  }

  KvCache host{};
  cuda::DeviceKv device{};

 private:
  size_t bytes(int64_t n) const {
    return static_cast<size_t>(n * 2 * shape_.n_kv_heads * shape_.head_dim *
                               bytes_of(layout_.number));
  }

  ModelShape shape_;
  cuda::KvLayout layout_;
  Memory host_, device_;
  std::vector<float> k_scales_, v_scales_;
};

}  // namespace support
