#include "cuda_check/plugin.h"

#include <dlfcn.h>

namespace check {

using namespace mm2::kernels;

Plugin::Plugin(const std::string& path, int32_t index) : index_(index) {
  handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) throw NoDevice(std::string("no plug-in: ") + dlerror());
  const auto entry =
      reinterpret_cast<const mm2::kernels::Plugin* (*)()>(dlsym(handle_, kPluginSymbol));
  if (entry == nullptr) throw NoDevice(path + " has no " + kPluginSymbol);
  table_ = entry();
  if (table_->version != kPluginVersion || table_->size != sizeof(mm2::kernels::Plugin)) {
    throw NoDevice(path + " is of another version than this program");
  }
  int32_t n = 0;
  try {
    call([&](const auto& t, DeviceError* error) { return t.count(&n, error); });
    if (index >= n) throw NoDevice("no device " + std::to_string(index));
    call([&](const auto& t, DeviceError* error) { return t.info(index, &info_, error); });
    call([&](const auto& t, DeviceError* error) { return t.open(index, &device_, error); });
  } catch (const DeviceFailure& failure) {
    throw NoDevice(std::string("no device: ") + failure.what());
  }
}

// The plug-in stays: its run-time library does not like to be unloaded.
Plugin::~Plugin() {
  if (device_ != nullptr) table_->close(device_);
}

Memory::Memory(const Plugin& plugin, int64_t n_bytes) : plugin_(plugin), size_(n_bytes) {
  plugin.call([&](const auto& t, DeviceError* error) {
    return t.allocate(plugin.device(), n_bytes, &data_, error);
  });
}

Memory::~Memory() {
  plugin_.table().release(plugin_.device(), data_);
}

}  // namespace check
