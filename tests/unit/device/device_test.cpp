// Devices and their memory: who owns what, and what happens to it when a call fails.
#include "device/device.h"

#include <sys/wait.h>
#include <unistd.h>

#include "unit/device/fake.h"

using mm2::Code;
using mm2::Device;
using mm2::DeviceMemory;
using mm2::Status;
using support::Fake;
using support::says;

namespace {

std::shared_ptr<Device> open(int32_t index = 0) {
  auto plugin = mm2::DevicePlugin::open(MM2_FAKE_DEVICE);
  REQUIRE(plugin.ok());
  auto device = Device::open(*plugin, index);
  INFO(device.status().message());
  REQUIRE(device.ok());
  return *device;
}

}  // namespace

TEST_CASE("device: an index beyond the last one is refused with the range") {
  const Fake fake;
  const auto plugin = mm2::DevicePlugin::open(MM2_FAKE_DEVICE);
  CHECK(says(Device::open(*plugin, 1).status(), "device_index is 1, this machine has 1 device: 0"));
  fake->n_devices = 3;
  const Status three = Device::open(*plugin, 3).status();
  CHECK(three.code() == Code::invalid_argument);
  CHECK(says(three, "this machine has 3 devices: 0 to 2"));
  CHECK(std::string(open(2)->info().name) == "Fake 2");
}

TEST_CASE("device: bytes go there and come back, memory is given back once") {
  const Fake fake;
  const auto device = open();
  const std::string text = "something to keep";
  auto made = DeviceMemory::make(device, 64);
  REQUIRE(made.ok());
  DeviceMemory memory = *std::move(made);
  CHECK(fake->used_bytes == 64);
  REQUIRE(device->copy_to(memory.data() + 3, text.data(), text.size()).ok());
  std::string back(text.size(), ' ');
  REQUIRE(device->copy_from(back.data(), memory.data() + 3, back.size()).ok());
  CHECK(back == text);
  DeviceMemory other = std::move(memory);
  memory.reset();
  CHECK(fake->used_bytes == 64);
  other = DeviceMemory();
  CHECK(fake->used_bytes == 0);
  CHECK(DeviceMemory::make(device, 0)->data() == nullptr);
}

TEST_CASE("device: out of memory tells what was wanted and what is free") {
  const Fake fake;
  fake->memory_bytes = 1000;
  const auto device = open();
  const auto some = DeviceMemory::make(device, 400);
  REQUIRE(some.ok());
  const Status status = DeviceMemory::make(device, 601).status();
  CHECK(status.code() == Code::out_of_memory);
  CHECK(
      says(status, "601 bytes of device memory were wanted, 600 of 1000 bytes are free on Fake 0"));
  CHECK(status.native_code() == 2);
  CHECK(DeviceMemory::make(device, UINT64_MAX).status().code() == Code::out_of_memory);
  CHECK(DeviceMemory::make(device, 600).ok());
}

TEST_CASE("device: a call that failed leaves the device usable, a loss is remembered") {
  const Fake fake;
  const auto device = open();
  const auto memory = DeviceMemory::make(device, 64);
  REQUIRE(memory.ok());
  char byte = 1;
  fake.fail("copy_to", mm2::kernels::kDeviceFailed);
  const Status failed = device->copy_to(memory->data(), &byte, 1);
  CHECK(failed.code() == Code::device);
  CHECK(failed.message() == "a failure that was asked for");
  CHECK(device->usable().ok());
  CHECK(device->copy_to(memory->data(), &byte, 1).ok());

  fake.fail("copy_to", mm2::kernels::kDeviceLost);
  const Status lost = device->copy_to(memory->data(), &byte, 1);
  CHECK(lost.code() == Code::device_lost);
  CHECK(says(lost, "device 0 (Fake 0) is lost: a failure that was asked for"));
  fake.heal();  // the plug-in would answer again; nobody asks it
  fake->n_calls = 0;
  const Status later = device->copy_from(&byte, memory->data(), 1);
  CHECK(later.code() == Code::device_lost);
  CHECK(later.message() == lost.message());
  CHECK(later.native_code() == lost.native_code());
}

TEST_CASE("device: in a child of fork nothing reaches the plug-in") {
  const Fake fake;
  auto device = open();
  auto memory = DeviceMemory::make(device, 64);
  REQUIRE(memory.ok());
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    char byte = 0;
    const bool refused = device->copy_from(&byte, memory->data(), 1).code() == Code::forked;
    const int32_t before = fake->n_objects;
    memory->reset();
    device.reset();
    _exit(refused && fake->n_objects == before ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
