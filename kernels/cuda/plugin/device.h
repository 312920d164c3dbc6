// One opened device: its context, its memory, its slots for copies.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <mutex>

#include "kernels/cuda/plugin/errors.h"

namespace mm2::kernels::cuda {

/// Functions of the driver, found at run time: the plug-in is not linked against it. With them the
/// device's context is put on top of the calling thread's and taken off again, so that the host
/// finds its own current device and context as they were.
struct Driver {
  int (*device_get)(int* device, int ordinal);
  int (*retain)(void** context, int device);
  int (*release)(int device);
  int (*push)(void* context);
  int (*pop)(void** context);
};
int32_t find_driver(Driver* driver, DeviceError* error);

/// Pinned memory, a stream and room in the device's memory for one copy at a time.
struct Slot {
  bool is_made, is_busy;
  char* pinned[2];      // kPinnedBytes each
  cudaEvent_t done[2];  // what was sent from it, or into it
  cudaStream_t stream;
  char* raw;  // device memory, raw_bytes
  int64_t raw_bytes;
};
constexpr int64_t kPinnedBytes = int64_t{8} << 20;
constexpr int32_t kSlots = 4;

}  // namespace mm2::kernels::cuda

namespace mm2::kernels {

struct Device {
  int32_t index = 0;
  int32_t n_multiprocessors = 0;
  bool has_fast = false;  // the fast kernels are compiled for it
  cuda::Driver driver{};
  int driver_device = 0;
  void* context = nullptr;
  std::atomic<int32_t> lost{0};  // the runtime's error, 0 where the device works

  std::mutex mutex;  // of what follows
  std::condition_variable slot_is_free;
  cuda::Slot slots[cuda::kSlots] = {};
};

}  // namespace mm2::kernels

namespace mm2::kernels::cuda {

/// While it lives, the runtime's calls of this thread go to the device.
class Current {
 public:
  explicit Current(const Device& device) : driver_(device.driver) {
    is_pushed_ = driver_.push(device.context) == 0;
  }
  ~Current() {
    void* popped = nullptr;
    if (is_pushed_) driver_.pop(&popped);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  const Driver& driver_;
  bool is_pushed_;
};

/// A slot of the device, waited for; `failed` where it could not be made.
class SlotLease {
 public:
  SlotLease(Device* device, DeviceError* error);
  ~SlotLease();
  SlotLease(const SlotLease&) = delete;
  SlotLease& operator=(const SlotLease&) = delete;

  int32_t code() const { return code_; }
  Slot* operator->() const { return slot_; }
  Slot& operator*() const { return *slot_; }
  /// At least n_bytes in Slot::raw.
  int32_t need_raw(int64_t n_bytes, DeviceError* error);

 private:
  Device* device_;
  Slot* slot_ = nullptr;
  int32_t code_;
};

/// kDeviceLost, with a sentence, where the device has failed for good.
int32_t check_usable(const Device& device, DeviceError* error);

int32_t take_memory(Device* device, int64_t n_bytes, void** memory, const char* what,
                    DeviceError* error);

/// Whether the kernels that the plug-in holds are for the current device; cudaErrorNoKernelImageForDevice
/// where they are not.
cudaError_t can_run_kernels();

// The table's functions.
int32_t count_devices(int32_t* n_devices, DeviceError* error);
int32_t device_info(int32_t index, DeviceInfo* info, DeviceError* error);
int32_t open_device(int32_t index, Device** device, DeviceError* error);
void close_device(Device* device);
int32_t allocate(Device* device, int64_t n_bytes, void** memory, DeviceError* error);
void release(Device* device, void* memory);
int32_t copy_to(Device* device, void* to, const void* from, int64_t n_bytes, DeviceError* error);
int32_t copy_from(Device* device, void* to, const void* from, int64_t n_bytes, DeviceError* error);
int32_t pack(Device* device, const MatrixRows* rows, void* to, DeviceError* error);

}  // namespace mm2::kernels::cuda
