// What one engine owns on a device.
#pragma once

#include "base/json.h"
#include "device/device.h"

namespace mm2 {

/// Its calls may come from any thread; they wait for one another.
class DeviceEngine {
 public:
  /// The KV pool of options and its scales must outlive this.
  static Result<std::unique_ptr<DeviceEngine>> make(std::shared_ptr<DeviceModel> model,
                                                    const kernels::DeviceEngineOptions& options);
  ~DeviceEngine();
  DeviceEngine(const DeviceEngine&) = delete;
  DeviceEngine& operator=(const DeviceEngine&) = delete;

  const Device& device() const { return *model_->device(); }
  /// cancelled when StepPlan::interrupted said so; after any failure nothing of the step counts.
  Status step(const kernels::StepPlan& plan);
  /// Block `from` of every layer onto block `to`.
  Status copy_block(int32_t from, int32_t to);
  /// As in Backend; `to` and `from` are host memory.
  Status read_positions(const kernels::StepRow& row, int64_t first, int64_t n, void* to) const;
  Status write_positions(const kernels::StepRow& row, int64_t first, int64_t n, const void* from);
  /// Of the last step: kernels, bytes, splits.
  Json describe() const;

 private:
  explicit DeviceEngine(std::shared_ptr<DeviceModel> model) : model_(std::move(model)) {}
  template <typename F>
  Status call(F&& f) const {
    std::lock_guard lock(mutex_);
    return model_->device()->call(std::forward<F>(f));
  }

  std::shared_ptr<DeviceModel> model_;
  kernels::DeviceEngine* handle_ = nullptr;
  mutable std::mutex mutex_;
};

}  // namespace mm2
