// A device plug-in as this program uses it: opened, and every failed call an exception with its words.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/api/device.h"

namespace check {

/// A call that failed: code tells a weight that is not supported from what is wrong.
struct DeviceFailure : std::runtime_error {
  DeviceFailure(int32_t code_of_it, const std::string& words)
      : std::runtime_error(words), code(code_of_it) {}
  int32_t code;
};

/// There is no plug-in or no device: the program has nothing to do.
struct NoDevice : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Plugin {
 public:
  /// path: that file; index: which device.
  Plugin(const std::string& path, int32_t index);
  ~Plugin();
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const mm2::kernels::Plugin& table() const { return *table_; }
  const mm2::kernels::Backend& backend() const { return *table_->backend; }
  mm2::kernels::Device* device() const { return device_; }
  int32_t index() const { return index_; }
  const mm2::kernels::DeviceInfo& info() const { return info_; }

  /// Calls f(table, error) and throws what it says.
  template <typename F>
  void call(F&& f) const {
    mm2::kernels::DeviceError error{};
    if (const int32_t code = f(*table_, &error); code != mm2::kernels::kDeviceOk) {
      throw DeviceFailure(code, error.text);
    }
  }

 private:
  void* handle_ = nullptr;
  const mm2::kernels::Plugin* table_ = nullptr;
  mm2::kernels::Device* device_ = nullptr;
  int32_t index_;
  mm2::kernels::DeviceInfo info_{};
};

/// Device memory with an owner.
class Memory {
 public:
  Memory(const Plugin& plugin, int64_t n_bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  char* data() const { return static_cast<char*>(data_); }
  int64_t size() const { return size_; }

 private:
  const Plugin& plugin_;
  void* data_ = nullptr;
  int64_t size_;
};

}  // namespace check
