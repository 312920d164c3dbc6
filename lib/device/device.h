// An opened device, its memory, and models in it, each with an owner.
//
// Once a call has said that the device is lost, every later one says so without reaching the
// plug-in, in the words of the first. In a child of fork() nothing reaches it either: contexts do
// not survive there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "device/plugin.h"

namespace mm2 {

/// Shared by everything made on it. Any thread.
class Device {
 public:
  /// Code::unsupported: no plug-in, no driver, no device; invalid_argument for an index beyond the
  /// last one.
  static Result<std::shared_ptr<Device>> open(std::shared_ptr<const DevicePlugin> plugin,
                                              int32_t index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DevicePlugin& plugin() const { return *plugin_; }
  int32_t index() const { return index_; }
  /// As it was when opened.
  const kernels::DeviceInfo& info() const { return info_; }
  /// device_lost or forked, or fine.
  Status usable() const;
  /// "12345 of 67890 bytes are free on NAME", for messages; asks the device.
  std::string free_memory() const;

  Status copy_to(void* device, const void* from, size_t n_bytes);
  Status copy_from(void* to, const void* device, size_t n_bytes);
  /// Backend::pack into device memory. Different rows at once from many threads.
  Status pack(const kernels::MatrixRows& rows, void* device);

  /// A call on this device: its Status, after noting a loss.
  template <typename F>
  Status call(F&& f) {
    MM2_RETURN_IF_ERROR(usable());
    kernels::DeviceError failure{};
    return judge(f(plugin_->table(), &failure), failure);
  }
  /// Gives something back; not in a child of fork(), where it is the parent's.
  template <typename F>
  void give_back(F&& f) {
    if (is_own_process()) f(plugin_->table());
  }
  kernels::Device* handle() const { return handle_; }

 private:
  Device(std::shared_ptr<const DevicePlugin> plugin, int32_t index);
  bool is_own_process() const;
  Status judge(int32_t code, const kernels::DeviceError& failure);

  std::shared_ptr<const DevicePlugin> plugin_;
  int32_t index_;
  kernels::DeviceInfo info_{};
  kernels::Device* handle_ = nullptr;
  int64_t owner_process_;
  std::atomic<bool> lost_{false};
  mutable std::mutex mutex_;
  Status why_lost_;
};

/// Device memory. Move-only; given back when destroyed.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// out_of_memory tells what was asked for and what is free. Nothing is taken for size 0.
  static Result<DeviceMemory> make(std::shared_ptr<Device> device, uint64_t size);
  ~DeviceMemory() { reset(); }
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;

  /// An address of the device: to calculate with, never to follow.
  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }
  void reset();

 private:
  std::shared_ptr<Device> device_;
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

/// Weights as the device's kernels find them. Immutable; any number of engines on it.
class DeviceModel {
 public:
  /// weights: its matrices and vectors are device memory that outlives this.
  static Result<std::shared_ptr<DeviceModel>> make(std::shared_ptr<Device> device,
                                                   const kernels::ModelShape& shape,
                                                   const kernels::ModelWeights& weights);
  ~DeviceModel();
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  const std::shared_ptr<Device>& device() const { return device_; }
  kernels::DeviceModel* handle() const { return handle_; }

 private:
  explicit DeviceModel(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  std::shared_ptr<Device> device_;
  kernels::DeviceModel* handle_ = nullptr;
};

}  // namespace mm2
