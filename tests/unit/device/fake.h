// The fake device as a test holds it: fresh at its beginning, empty at its end.
#pragma once

#include <dlfcn.h>

#include <string>

#include "support/engine.h"
#include "support/fake_device/fake_device.h"

namespace support {

class Fake {
 public:
  Fake() : handle_(dlopen(MM2_FAKE_DEVICE, RTLD_NOW | RTLD_LOCAL)) {
    REQUIRE(handle_ != nullptr);
    const auto entry = reinterpret_cast<FakeDevice* (*)()>(dlsym(handle_, kFakeSymbol));
    REQUIRE(entry != nullptr);
    state_ = entry();
    *state_ = FakeDevice();
  }
  ~Fake() {
    CHECK(state_->n_objects == 0);
    CHECK(state_->used_bytes == 0);
    dlclose(handle_);
  }
  Fake(const Fake&) = delete;
  Fake& operator=(const Fake&) = delete;

  FakeDevice* operator->() const { return state_; }
  /// The n-th call of this function from now on, counted from 0, fails; n_calls counts all of them.
  void fail(const char* function, int32_t code, int32_t n = 0) const {
    state_->failing = function;
    state_->n_calls = 0;
    state_->fails_at = n;
    state_->code = code;
  }
  void heal() const { state_->failing = nullptr; }

 private:
  void* handle_;
  FakeDevice* state_;
};

inline mm2::ModelOptions on_fake() {
  return {.n_threads = 2, .device = mm2::DeviceKind::cuda, .device_plugin = MM2_FAKE_DEVICE};
}

inline std::shared_ptr<const mm2::Model> load_on_fake(const std::string& path) {
  auto model = mm2::Model::load(path, on_fake(), mm2::Host{});
  INFO(model.status().message());
  REQUIRE(model.ok());
  return *model;
}

inline bool says(const mm2::Status& status, const std::string& words) {
  UNSCOPED_INFO(status.message());
  return status.message().find(words) != std::string::npos;
}

}  // namespace support
