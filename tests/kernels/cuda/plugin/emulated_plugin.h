// The emulated plug-in as the library would open it, and a small model on it.
#pragma once

#include <dlfcn.h>
#include "support/cuda_emulator/emulator.h"

#include <string>

#include "kernels/api/device.h"
#include "kernels/support.h"

namespace support {

/// Never closed: so tests share one.
class EmulatedPlugin {
 public:
  static const Plugin& table() { return *opened().table_; }
  static const cuda_emulator::Control& control() { return *opened().control_; }

 private:
  EmulatedPlugin() {
    void* library = dlopen(MM2_CUDA_EMULATED_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    INFO(MM2_CUDA_EMULATED_PLUGIN);
    REQUIRE(library != nullptr);
    const auto table = reinterpret_cast<const Plugin* (*)()>(dlsym(library, kPluginSymbol));
    const auto control = reinterpret_cast<const cuda_emulator::Control* (*)()>(
        dlsym(library, cuda_emulator::kControlSymbol));
    REQUIRE(table != nullptr);
    REQUIRE(control != nullptr);
    table_ = table();
    control_ = control();
  }
  static EmulatedPlugin& opened() {
    static EmulatedPlugin one;
    return one;
  }
  const Plugin* table_ = nullptr;
  const cuda_emulator::Control* control_ = nullptr;
};

inline const Plugin& plugin() {
  return EmulatedPlugin::table();
}

/// The emulator as a test wants it; as new again at the end.
class Emulated {
 public:
  explicit Emulated(const cuda_emulator::Settings& settings = {}) {
    EmulatedPlugin::control().set(settings);
  }
  ~Emulated() { EmulatedPlugin::control().set({}); }
  Emulated(const Emulated&) = delete;
  Emulated& operator=(const Emulated&) = delete;
  cuda_emulator::Counts counts() const { return EmulatedPlugin::control().counts(); }
  std::string last_failure() const { return EmulatedPlugin::control().last_failure(); }
};

/// An opened device, closed at the end.
class OpenDevice {
 public:
  explicit OpenDevice(int32_t index = 0) {
    DeviceError error{};
    const int32_t code = plugin().open(index, &device_, &error);
    INFO(error.text);
    REQUIRE(code == kDeviceOk);
  }
  ~OpenDevice() { plugin().close(device_); }
  OpenDevice(const OpenDevice&) = delete;
  OpenDevice& operator=(const OpenDevice&) = delete;
  Device* get() const { return device_; }

  /// Device memory until the device is closed.
  void* allocate(int64_t n_bytes) const {
    void* memory = nullptr;
    DeviceError error{};
    REQUIRE(plugin().allocate(device_, n_bytes, &memory, &error) == kDeviceOk);
    return memory;
  }
  void* upload(const void* from, int64_t n_bytes) const {
    void* memory = allocate(n_bytes);
    DeviceError error{};
    REQUIRE(plugin().copy_to(device_, memory, from, n_bytes, &error) == kDeviceOk);
    return memory;
  }
  std::vector<char> download(const void* from, int64_t n_bytes) const {
    std::vector<char> to(static_cast<size_t>(n_bytes));
    DeviceError error{};
    REQUIRE(plugin().copy_from(device_, to.data(), from, n_bytes, &error) == kDeviceOk);
    return to;
  }

 private:
  Device* device_ = nullptr;
};

}  // namespace support
