// Finding and opening devices.
#include "kernels/cuda/plugin/emulated_plugin.h"

using namespace support;

TEST_CASE("cuda plugin: the table is of this version and has every function") {
  const Plugin& p = plugin();
  CHECK(p.version == kPluginVersion);
  CHECK(p.size == sizeof(Plugin));
  CHECK(std::string(p.name) == "cuda");
  // Nothing but pointers follows the first members.
  const auto* pointers = reinterpret_cast<const void* const*>(&p.name);
  for (size_t i = 0; i < (sizeof(Plugin) - offsetof(Plugin, name)) / sizeof(void*); ++i) {
    INFO(i);
    CHECK(pointers[i] != nullptr);
  }
  CHECK(p.backend->step == nullptr);
  const ModelShape s = odd_shape();
  CHECK(p.backend->kv_block_bytes(&s, 64, kBF16) == int64_t{2} * 2 * 64 * 32);
}

TEST_CASE("cuda plugin: devices are counted and described") {
  const Emulated emulated;
  int32_t n = -1;
  DeviceError error{};
  CHECK(plugin().count(&n, &error) == kDeviceOk);
  CHECK(n == 2);
  DeviceInfo info{};
  CHECK(plugin().info(1, &info, &error) == kDeviceOk);
  CHECK(std::string(info.name) == "Emulated device");
  CHECK(info.major == 9);
  CHECK(info.n_multiprocessors == 4);
  CHECK(info.memory_bytes == int64_t{1} << 40);
  CHECK(info.free_bytes == info.memory_bytes);
  CHECK(info.runtime_version == 13000);
  CHECK(plugin().info(2, &info, &error) == kDeviceNone);
  CHECK(std::string(error.text) == "CUDA: no device 2: there are 2");
  CHECK(emulated.counts().contexts == 0);
}

TEST_CASE("cuda plugin: without a driver, with an old one and without devices a sentence says so") {
  cuda_emulator::Settings settings;
  settings.driver = 0;
  {
    const Emulated emulated(settings);
    int32_t n = -1;
    DeviceError error{};
    Device* device = nullptr;
    CHECK(plugin().count(&n, &error) == kDeviceNone);
    CHECK(n == 0);
    CHECK(error.code == kDeviceNone);
    CHECK(error.native == 35);
    CHECK(std::string(error.text) == "CUDA: no NVIDIA driver is installed on this machine");
    CHECK(plugin().open(0, &device, &error) == kDeviceNone);
    CHECK(device == nullptr);
    CHECK(plugin().open(0, &device, nullptr) == kDeviceNone);
  }
  settings.driver = 13000;
  settings.n_devices = 0;
  const Emulated emulated(settings);
  int32_t n = -1;
  DeviceError error{};
  Device* device = nullptr;
  CHECK(plugin().count(&n, &error) == kDeviceOk);
  CHECK(n == 0);
  CHECK(plugin().open(0, &device, &error) == kDeviceNone);
  CHECK(std::string(error.text) == "CUDA: no device 0: there are 0");
}

TEST_CASE("cuda plugin: a device that there are no kernels for is described, not opened") {
  cuda_emulator::Settings settings;
  settings.major = 8;
  settings.minor = 6;
  const Emulated emulated(settings);
  Device* device = nullptr;
  DeviceError error{};
  DeviceInfo info{};
  CHECK(plugin().open(0, &device, &error) == kDeviceUnsupported);
  CHECK(device == nullptr);
  CHECK_THAT(error.text, Catch::Contains("device 0 of compute capability 8.6"));
  CHECK(plugin().info(0, &info, &error) == kDeviceOk);
  CHECK(info.minor == 6);
  CHECK(emulated.counts().contexts == 0);
}

TEST_CASE("cuda plugin: the caller's current device stays what it was") {
  const Emulated emulated;
  const cuda_emulator::Control& control = EmulatedPlugin::control();
  for (const int32_t current : {-1, 0, 1}) {
    control.set_current_device(current);
    {
      const OpenDevice device(1);
      CHECK(control.current_device() == current);
      const int32_t number = 7;
      void* memory = device.upload(&number, 4);
      CHECK(device.download(memory, 4).size() == 4);
      plugin().release(device.get(), memory);
      CHECK(control.current_device() == current);
    }
    DeviceInfo info{};
    CHECK(plugin().info(0, &info, nullptr) == kDeviceOk);
    CHECK(control.current_device() == current);
  }
  control.set_current_device(-1);
}

#if defined(MM2_CUDA_PLUGIN)
TEST_CASE("cuda plugin: the real one opens without a driver and says that there is none") {
  void* library = dlopen(MM2_CUDA_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  INFO(MM2_CUDA_PLUGIN);
  REQUIRE(library != nullptr);
  const auto find = reinterpret_cast<const Plugin* (*)()>(dlsym(library, kPluginSymbol));
  REQUIRE(find != nullptr);
  const Plugin& p = *find();
  CHECK(p.version == kPluginVersion);
  CHECK(p.size == sizeof(Plugin));
  int32_t n = -1;
  DeviceError error{};
  const int32_t code = p.count(&n, &error);
  if (code == kDeviceOk) return;  // a machine with a driver
  CHECK(code == kDeviceNone);
  CHECK(n == 0);
  CHECK(std::string(error.text).rfind("CUDA: ", 0) == 0);
  Device* device = nullptr;
  CHECK(p.open(0, &device, &error) == kDeviceNone);
}
#endif
