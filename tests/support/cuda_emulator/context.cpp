// A thread has a stack of contexts, as with the driver; the runtime works in the top one.
#include "cuda_emulator/context.h"

#include <string.h>

#include <vector>

#include "cuda_emulator/cuda_runtime_api.h"
#include "cuda_emulator/emulator.h"

namespace cuda_emulator {
namespace {

char primary[16];  // the address of element i is the primary context of device i

std::vector<void*>& stack() {
  thread_local std::vector<void*> contexts;
  return contexts;
}

bool has_device(int32_t index) {
  const Settings s = control().settings();
  return s.driver != 0 && index >= 0 && index < s.n_devices;
}

int device_get(int* device, int ordinal) {
  *device = ordinal;
  return has_device(ordinal) ? 0 : 101;
}
int retain(void** context, int device) {
  *context = primary + device;
  count_contexts(1);
  return 0;
}
int release(int) {
  count_contexts(-1);
  return 0;
}
int push(void* context) {
  stack().push_back(context);
  return 0;
}
int pop(void** context) {
  if (stack().empty()) return 201;
  *context = stack().back();
  stack().pop_back();
  return 0;
}

}  // namespace

int32_t current_device() {
  if (stack().empty()) return -1;
  return static_cast<int32_t>(static_cast<char*>(stack().back()) - primary);
}

void set_current_device(int32_t index) {
  if (!stack().empty()) stack().pop_back();
  if (index >= 0) stack().push_back(primary + index);
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

cudaError_t cudaGetDevice(int* device) {
  if (control().settings().driver == 0) return cudaErrorInsufficientDriver;
  *device = current_device() < 0 ? 0 : current_device();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (control().settings().driver == 0) return cudaErrorInsufficientDriver;
  if (!has_device(device)) return cudaErrorInvalidDevice;
  set_current_device(device);
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* status) {
  struct Named {
    const char* name;
    void* function;
  };
  const Named all[] = {{"cuDeviceGet", reinterpret_cast<void*>(device_get)},
                       {"cuDevicePrimaryCtxRetain", reinterpret_cast<void*>(retain)},
                       {"cuDevicePrimaryCtxRelease", reinterpret_cast<void*>(release)},
                       {"cuCtxPushCurrent", reinterpret_cast<void*>(push)},
                       {"cuCtxPopCurrent", reinterpret_cast<void*>(pop)}};
  *function = nullptr;
  if (control().settings().driver == 0) return cudaErrorInsufficientDriver;
  for (const Named& one : all) {
    if (strcmp(symbol, one.name) == 0) *function = one.function;
  }
  if (status != nullptr) {
    *status =
        *function == nullptr ? cudaDriverEntryPointSymbolNotFound : cudaDriverEntryPointSuccess;
  }
  return cudaSuccess;
}
