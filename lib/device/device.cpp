#include "device/device.h"

#include <unistd.h>

#include <utility>

namespace mm2 {

Device::Device(std::shared_ptr<const DevicePlugin> plugin, int32_t index)
    : plugin_(std::move(plugin)), index_(index), owner_process_(getpid()) {}

Device::~Device() {
  if (handle_ != nullptr) give_back([&](const kernels::Plugin& t) { t.close(handle_); });
}

Result<std::shared_ptr<Device>> Device::open(std::shared_ptr<const DevicePlugin> plugin,
                                             int32_t index) {
  MM2_ASSIGN_OR_RETURN(const int32_t n, plugin->count());
  if (index < 0 || index >= n) {
    return error(Code::invalid_argument, "device_index is ", index, ", this machine has ", n,
                 n == 1 ? " device: 0" : join(" devices: 0 to ", n - 1));
  }
  std::shared_ptr<Device> device(new Device(std::move(plugin), index));
  MM2_ASSIGN_OR_RETURN(device->info_, device->plugin_->info(index));
  MM2_RETURN_IF_ERROR(device->call([&](const kernels::Plugin& t, kernels::DeviceError* failure) {
    return t.open(index, &device->handle_, failure);
  }));
  return device;
}

bool Device::is_own_process() const {
  return getpid() == owner_process_;
}

Status Device::usable() const {
  if (!is_own_process()) {
    return error(Code::forked, "the device was opened in process ", owner_process_,
                 " and belongs to it; this is process ", getpid());
  }
  if (!lost_.load(std::memory_order_acquire)) return {};
  std::lock_guard lock(mutex_);
  return why_lost_;
}

Status Device::judge(int32_t code, const kernels::DeviceError& failure) {
  Status status = device_status(plugin_->table(), code, failure);
  if (status.code() == Code::device_lost) {
    std::lock_guard lock(mutex_);
    if (why_lost_.ok()) {
      why_lost_ = Status(status).in(join("device ", index_, " (", info_.name, ") is lost"));
      lost_.store(true, std::memory_order_release);
    }
    return why_lost_;
  }
  return status;
}

std::string Device::free_memory() const {
  const auto now = plugin_->info(index_);
  if (!now.ok()) return "how much is free cannot be asked";
  return join(now->free_bytes, " of ", now->memory_bytes, " bytes are free on ", now->name);
}

Status Device::copy_to(void* device, const void* from, size_t n_bytes) {
  return call([&](const kernels::Plugin& t, kernels::DeviceError* failure) {
    return t.copy_to(handle_, device, from, static_cast<int64_t>(n_bytes), failure);
  });
}

Status Device::copy_from(void* to, const void* device, size_t n_bytes) {
  return call([&](const kernels::Plugin& t, kernels::DeviceError* failure) {
    return t.copy_from(handle_, to, device, static_cast<int64_t>(n_bytes), failure);
  });
}

Status Device::pack(const kernels::MatrixRows& rows, void* device) {
  return call([&](const kernels::Plugin& t, kernels::DeviceError* failure) {
    return t.pack(handle_, &rows, device, failure);
  });
}

// ---- memory -------------------------------------------------------------------------------------

Result<DeviceMemory> DeviceMemory::make(std::shared_ptr<Device> device, uint64_t size) {
  DeviceMemory memory;
  if (size == 0) return memory;
  if (size > static_cast<uint64_t>(INT64_MAX)) {
    return error(Code::out_of_memory, size, " bytes are more than any device has");
  }
  void* data = nullptr;
  Status status = device->call([&](const kernels::Plugin& t, kernels::DeviceError* failure) {
    return t.allocate(device->handle(), static_cast<int64_t>(size), &data, failure);
  });
  if (status.code() == Code::out_of_memory) {
    return std::move(status).in(
        join(size, " bytes of device memory were wanted, ", device->free_memory()));
  }
  MM2_RETURN_IF_ERROR(status);
  memory.device_ = std::move(device);
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = size;
  return memory;
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  if (this == &other) return *this;
  reset();
  device_ = std::move(other.device_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void DeviceMemory::reset() {
  if (data_ != nullptr) {
    device_->give_back([&](const kernels::Plugin& t) { t.release(device_->handle(), data_); });
  }
  data_ = nullptr;
  size_ = 0;
  device_.reset();
}

// ---- model --------------------------------------------------------------------------------------

Result<std::shared_ptr<DeviceModel>> DeviceModel::make(std::shared_ptr<Device> device,
                                                       const kernels::ModelShape& shape,
                                                       const kernels::ModelWeights& weights) {
  std::shared_ptr<DeviceModel> model(new DeviceModel(std::move(device)));
  Device& on = *model->device_;
  MM2_RETURN_IF_ERROR(on.call([&](const kernels::Plugin& t, kernels::DeviceError* failure) {
    return t.make_model(on.handle(), &shape, &weights, &model->handle_, failure);
  }));
  return model;
}

DeviceModel::~DeviceModel() {
  if (handle_ == nullptr) return;
  device_->give_back([&](const kernels::Plugin& t) { t.free_model(handle_); });
}

}  // namespace mm2
