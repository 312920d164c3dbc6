// Where loaded weights go: the host's memory, or a device's.
#pragma once

#include <cstddef>
#include <cstring>

#include "base/status.h"
#include "device/device.h"
#include "kernels/api/backend.h"

namespace mm2 {

/// Addressed by offset. Any thread, different places at once.
class WeightMemory {
 public:
  virtual ~WeightMemory() = default;
  /// Rows of a matrix that lies packed at `offset`.
  virtual Status pack(const kernels::MatrixRows& rows, uint64_t offset) = 0;
  virtual Status copy(const void* from, size_t n_bytes, uint64_t offset) = 0;
};

class HostWeights final : public WeightMemory {
 public:
  HostWeights(const kernels::Backend& backend, std::byte* data) : backend_(backend), data_(data) {}
  Status pack(const kernels::MatrixRows& rows, uint64_t offset) override {
    backend_.pack(&rows, data_ + offset);
    return {};
  }
  Status copy(const void* from, size_t n_bytes, uint64_t offset) override {
    std::memcpy(data_ + offset, from, n_bytes);
    return {};
  }

 private:
  const kernels::Backend& backend_;
  std::byte* data_;
};

class DeviceWeights final : public WeightMemory {
 public:
  DeviceWeights(Device& device, const DeviceMemory& memory) : device_(device), memory_(memory) {}
  Status pack(const kernels::MatrixRows& rows, uint64_t offset) override {
    return device_.pack(rows, memory_.data() + offset);
  }
  Status copy(const void* from, size_t n_bytes, uint64_t offset) override {
    return device_.copy_to(memory_.data() + offset, from, n_bytes);
  }

 private:
  Device& device_;
  const DeviceMemory& memory_;
};

}  // namespace mm2
