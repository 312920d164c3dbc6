#include "kernels/cuda/plugin/device.h"

#include <cstdio>
#include <cstring>
#include <new>

#include "kernels/cuda/prefill/prefill.h"

namespace mm2::kernels::cuda {
namespace {

#if defined(MM2_CUDA_EMULATED)
constexpr char kBuiltFor[] = "an emulator";
#else
constexpr char kBuiltFor[] = MM2_CUDA_ARCHITECTURES_TEXT;
#endif

template <typename Function>
int32_t find(const char* name, Function* function, DeviceError* error) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status{};
  const cudaError_t result =
      cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &status);
  if (result != cudaSuccess) return judge(result, error, nullptr, "%s of the driver", name);
  if (found == nullptr) return refuse(error, kDeviceNone, "CUDA: the driver has no %s", name);
  *function = reinterpret_cast<Function>(found);
  return kDeviceOk;
}

int32_t check_index(int32_t index, DeviceError* error) {
  int32_t n = 0;
  const int32_t code = count_devices(&n, error);
  if (code != kDeviceOk) return code;
  if (index < 0 || index >= n) {
    return refuse(error, kDeviceNone, "CUDA: no device %d: there are %d", index, n);
  }
  return kDeviceOk;
}

/// Room for a device, which becomes nobody's where opening it fails.
class Opening {
 public:
  explicit Opening(Device* device) : device_(device) {}
  ~Opening() {
    if (device_ == nullptr) return;
    if (device_->context != nullptr) device_->driver.release(device_->driver_device);
    delete device_;
  }
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
  Device* done() {
    Device* device = device_;
    device_ = nullptr;
    return device;
  }

 private:
  Device* device_;
};

int32_t attribute(int* value, cudaDeviceAttr which, int32_t index, DeviceError* error) {
  return judge(cudaDeviceGetAttribute(value, which, index), error, nullptr,
               "properties of device %d", index);
}

}  // namespace

int32_t find_driver(Driver* driver, DeviceError* error) {
  int32_t code = find("cuDeviceGet", &driver->device_get, error);
  if (code == kDeviceOk) code = find("cuDevicePrimaryCtxRetain", &driver->retain, error);
  if (code == kDeviceOk) code = find("cuDevicePrimaryCtxRelease", &driver->release, error);
  if (code == kDeviceOk) code = find("cuCtxPushCurrent", &driver->push, error);
  if (code == kDeviceOk) code = find("cuCtxPopCurrent", &driver->pop, error);
  return code;
}

int32_t count_devices(int32_t* n_devices, DeviceError* error) {
  *n_devices = 0;
  int n = 0;  // stays as it is where there is no driver
  const cudaError_t result = cudaGetDeviceCount(&n);
  if (result == cudaErrorNoDevice) {
    (void)cudaGetLastError();
    return kDeviceOk;
  }
  if (result == cudaErrorInsufficientDriver) {
    (void)cudaGetLastError();
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (error != nullptr) error->native = static_cast<int32_t>(result);
    if (driver == 0) {
      refuse(error, kDeviceNone, "CUDA: no NVIDIA driver is installed on this machine");
    } else {
      refuse(error, kDeviceNone, "CUDA: the driver is of CUDA %d.%d, at least %d.0 is needed",
             driver / 1000, driver % 1000 / 10, runtime / 1000);
    }
    if (error != nullptr) error->native = static_cast<int32_t>(result);
    return kDeviceNone;
  }
  if (result != cudaSuccess) return judge(result, error, nullptr, "counting devices");
  *n_devices = n;
  return kDeviceOk;
}

int32_t device_info(int32_t index, DeviceInfo* info, DeviceError* error) {
  *info = {};
  int32_t code = check_index(index, error);
  if (code != kDeviceOk) return code;
  cudaDeviceProp properties{};
  code = judge(cudaGetDeviceProperties(&properties, index), error, nullptr,
               "properties of device %d", index);
  if (code != kDeviceOk) return code;
  std::snprintf(info->name, sizeof(info->name), "%.95s", properties.name);
  info->major = properties.major;
  info->minor = properties.minor;
  info->n_multiprocessors = properties.multiProcessorCount;
  info->l2_bytes = properties.l2CacheSize;
  info->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  (void)cudaDriverGetVersion(&info->driver_version);
  (void)cudaRuntimeGetVersion(&info->runtime_version);
  Device* device = nullptr;
  code = open_device(index, &device, error);
  if (code == kDeviceUnsupported) return kDeviceOk;  // there, but free_bytes are not known
  if (code != kDeviceOk) return code;
  size_t n_free = 0, n_total = 0;
  {
    const Current current(*device);
    code = judge(cudaMemGetInfo(&n_free, &n_total), error, nullptr, "memory of device %d", index);
  }
  close_device(device);
  info->free_bytes = static_cast<int64_t>(n_free);
  return code;
}

int32_t open_device(int32_t index, Device** opened, DeviceError* error) {
  *opened = nullptr;
  int32_t code = check_index(index, error);
  if (code != kDeviceOk) return code;
  Device* device = new (std::nothrow) Device;
  if (device == nullptr) return refuse(error, kDeviceOutOfMemory, "CUDA: no memory of the host");
  Opening opening(device);
  device->index = index;
  code = attribute(&device->n_multiprocessors, cudaDevAttrMultiProcessorCount, index, error);
  if (code == kDeviceOk) code = find_driver(&device->driver, error);
  if (code != kDeviceOk) return code;
  int result = device->driver.device_get(&device->driver_device, index);
  if (result == 0) result = device->driver.retain(&device->context, device->driver_device);
  if (result != 0) {
    device->context = nullptr;
    return judge(static_cast<cudaError_t>(result), error, nullptr, "the context of device %d",
                 index);
  }
  const Current current(*device);
  const cudaError_t runs = can_run_kernels();
  if (code_of(runs) == kDeviceUnsupported) {
    int major = 0, minor = 0;
    (void)cudaGetLastError();
    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
    (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index);
    return refuse(
        error, kDeviceUnsupported,
        "CUDA: no kernels for device %d of compute capability %d.%d: this plug-in was built "
        "for %s",
        index, major, minor, kBuiltFor);
  }
  code = judge(runs, error, nullptr, "kernels for device %d", index);
  if (code != kDeviceOk) return code;
  const cudaError_t fast = fast_has_code();
  device->has_fast = fast == cudaSuccess;
  if (code_of(fast) == kDeviceUnsupported) {
    (void)cudaGetLastError();
  } else {
    code = judge(fast, error, nullptr, "kernels for device %d", index);
  }
  if (code == kDeviceOk) *opened = opening.done();
  return code;
}

void close_device(Device* device) {
  if (device == nullptr) return;
  {
    const Current current(*device);
    for (Slot& slot : device->slots) {
      if (slot.stream != nullptr) cudaStreamDestroy(slot.stream);
      for (int half = 0; half < 2; ++half) {
        if (slot.done[half] != nullptr) cudaEventDestroy(slot.done[half]);
        if (slot.pinned[half] != nullptr) cudaFreeHost(slot.pinned[half]);
      }
      if (slot.raw != nullptr) cudaFree(slot.raw);
    }
    (void)cudaGetLastError();
  }
  device->driver.release(device->driver_device);
  delete device;
}

int32_t check_usable(const Device& device, DeviceError* error) {
  const int32_t native = device.lost;
  if (native == 0) return kDeviceOk;
  refuse(error, kDeviceLost,
         "CUDA: device %d failed in an earlier call (%s): it can be used again in a new process",
         device.index, cudaGetErrorName(static_cast<cudaError_t>(native)));
  if (error != nullptr) error->native = native;
  return kDeviceLost;
}

int32_t take_memory(Device* device, int64_t n_bytes, void** memory, const char* what,
                    DeviceError* error) {
  *memory = nullptr;
  int32_t code = check_usable(*device, error);
  if (code != kDeviceOk) return code;
  if (n_bytes < 0) return refuse(error, kDeviceFailed, "CUDA: %s cannot be negative", what);
  const Current current(*device);
  const cudaError_t result = cudaMalloc(memory, static_cast<size_t>(n_bytes == 0 ? 1 : n_bytes));
  if (result == cudaSuccess) return kDeviceOk;
  *memory = nullptr;
  if (code_of(result) != kDeviceOutOfMemory) {
    return judge(result, error, &device->lost, "memory for %s", what);
  }
  size_t n_free = 0, n_total = 0;
  (void)cudaGetLastError();
  (void)cudaMemGetInfo(&n_free, &n_total);
  refuse(error, kDeviceOutOfMemory,
         "CUDA: device %d has no room for %lld bytes of %s: %zu of its %zu bytes are free",
         device->index, static_cast<long long>(n_bytes), what, n_free, n_total);
  if (error != nullptr) error->native = static_cast<int32_t>(result);
  return kDeviceOutOfMemory;
}

int32_t allocate(Device* device, int64_t n_bytes, void** memory, DeviceError* error) {
  return take_memory(device, n_bytes, memory, "weights or cache", error);
}

void release(Device* device, void* memory) {
  if (memory == nullptr) return;
  const Current current(*device);
  (void)cudaFree(memory);
  (void)cudaGetLastError();
}

}  // namespace mm2::kernels::cuda
