// What tests tell the fake device to do: exported by the plug-in beside its table.
#pragma once

#include <stdint.h>

#include "kernels/api/device.h"

/// Device addresses are those of the host plus this: following one is a fault.
constexpr uint64_t kFakeAddress = uint64_t{1} << 60;

struct FakeDevice {
  int32_t n_devices = 1;
  int64_t memory_bytes = int64_t{1} << 30;
  int64_t used_bytes = 0;
  int32_t n_objects = 0;          // devices, memories, models and engines that are alive
  int32_t n_calls = 0;            // of the function that shall fail
  const char* failing = nullptr;  // name of a member of the table
  int32_t fails_at = 0;           // its call of this number, from 0
  int32_t code = 0;               // with this DeviceCode
  void* stream = nullptr;         // of the last engine
  int32_t kernels = -1;
};

/// The state of the plug-in: extern "C" FakeDevice* mm2_fake_device(void).
constexpr const char* kFakeSymbol = "mm2_fake_device";
