#include "kernels/cuda/plugin/errors.h"

#include <cstdarg>
#include <cstdio>

namespace mm2::kernels::cuda {
namespace {

// Errors after which the context of the device answers nothing else: of CUDA 13's driver_types.h.
bool is_sticky(int error) {
  constexpr int kSticky[] = {4,   46,  214, 220, 226, 700, 702, 710,
                             714, 715, 716, 717, 718, 719, 721, 999};
  for (const int sticky : kSticky) {
    if (error == sticky) return true;
  }
  return false;
}

void write(DeviceError* error, int32_t code, int32_t native, const char* format,
           va_list arguments) {
  error->code = code;
  error->native = native;
  std::vsnprintf(error->text, sizeof(error->text), format, arguments);
}

}  // namespace

int32_t refuse(DeviceError* error, int32_t code, const char* format, ...) {
  if (error == nullptr) return code;
  va_list arguments;
  va_start(arguments, format);
  write(error, code, 0, format, arguments);
  va_end(arguments);
  return code;
}

int32_t code_of(cudaError_t error) {
  switch (static_cast<int>(error)) {
    case 0:
      return kDeviceOk;
    case 2:  // cudaErrorMemoryAllocation
      return kDeviceOutOfMemory;
    case 34:   // cudaErrorStubLibrary
    case 35:   // cudaErrorInsufficientDriver
    case 100:  // cudaErrorNoDevice
    case 101:  // cudaErrorInvalidDevice
    case 804:  // cudaErrorCompatNotSupportedOnDevice
      return kDeviceNone;
    case 209:  // cudaErrorNoKernelImageForDevice
      return kDeviceUnsupported;
    default:
      return is_sticky(static_cast<int>(error)) ? kDeviceLost : kDeviceFailed;
  }
}

int32_t judge(cudaError_t result, DeviceError* error, std::atomic<int32_t>* lost,
              const char* format, ...) {
  if (result == cudaSuccess) return kDeviceOk;
  (void)cudaGetLastError();
  const int32_t code = code_of(result);
  if (code == kDeviceLost && lost != nullptr) *lost = static_cast<int32_t>(result);
  if (error == nullptr) return code;
  char what[160];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(what, sizeof(what), format, arguments);
  va_end(arguments);
  refuse(error, code, "CUDA: %s: %s (%s, %d)", what, cudaGetErrorString(result),
         cudaGetErrorName(result), static_cast<int>(result));
  error->native = static_cast<int32_t>(result);
  return code;
}

}  // namespace mm2::kernels::cuda
