// A step on the emulated device, put together by hand, and the same weights for the CPU.
#pragma once

#include "kernels/cuda/common/device_ops.h"
#include "kernels/cuda/layout/pack.h"
#include "kernels/support.h"

namespace support {

namespace cuda = mm2::kernels::cuda;

/// A matrix as a device has it.
class DevicePacked {
 public:
  explicit DevicePacked(const Weights& weights)
      : memory_(cuda::packed_bytes(weights.ref.format, weights.ref.n_out, weights.ref.n_in)) {
    cuda::pack_on_host(&weights.rows(), memory_.get());
    matrix = {cuda::layout_of(weights.ref.format, weights.ref.n_out, weights.ref.n_in),
              static_cast<const char*>(memory_.get()), weights.ref.output_scale,
              weights.ref.output_divides};
  }

  cuda::DeviceMatrix matrix{};

 private:
  Memory memory_;
};

/// Rows of a step: each has its own blocks of the cache, in disorder.
class DeviceRows {
 public:
  explicit DeviceRows(int32_t block_size) : block_size_(block_size) {}

  void add(int32_t n_tokens, int32_t first_position) {
    const auto index = static_cast<int32_t>(rows.size());
    const auto first = static_cast<int32_t>(token_rows.size());
    const int32_t n_blocks = (first_position + n_tokens + block_size_ - 1) / block_size_;
    rows.push_back({first, n_tokens, first_position, 0, static_cast<int32_t>(blocks.size())});
    for (int32_t i = 0; i < n_blocks; ++i) blocks.push_back(n_blocks_ + n_blocks - 1 - i);
    n_blocks_ += n_blocks;
    for (int32_t i = 0; i < n_tokens; ++i) {
      token_rows.push_back(index);
      positions.push_back(first_position + i);
    }
  }

  /// The same for the CPU.
  std::vector<StepRow> host() const {
    std::vector<StepRow> all;
    for (const cuda::DeviceRow& row : rows) {
      all.push_back({row.first_token, row.n_tokens, row.first_position, row.n_outputs,
                     blocks.data() + row.first_block});
    }
    return all;
  }

  int32_t n_tokens() const { return static_cast<int32_t>(token_rows.size()); }
  int32_t n_blocks() const { return n_blocks_; }
  void fill(cuda::DeviceStep& step) const {
    step.n_rows = static_cast<int32_t>(rows.size());
    step.n_tokens = n_tokens();
    step.rows = step.host_rows = rows.data();
    step.positions = positions.data();
    step.token_rows = token_rows.data();
    step.kv.blocks = blocks.data();
  }

  std::vector<cuda::DeviceRow> rows;
  std::vector<int32_t> positions, token_rows, blocks;

 private:
  int32_t block_size_, n_blocks_ = 0;
};

}  // namespace support
