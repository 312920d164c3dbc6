// The host's side: devices, memory, launches.
#include <stdlib.h>
#include <string.h>

#include <map>
#include <mutex>

#include "cuda_emulator/context.h"
#include "cuda_emulator/cuda_runtime.h"
#include "cuda_emulator/emulator.h"
#include "cuda_emulator/launch.h"
#include "cuda_emulator/stream.h"

namespace cuda_emulator {
namespace {

struct World {
  std::mutex mutex;
  Settings settings;
  Counts counts{};
  std::map<const char*, size_t> memory;  // of devices
  std::map<const void*, size_t> pinned;
  std::string failure;
  cudaError_t sticky = cudaSuccess;
  int64_t until_failure = -1;
};

World& world() {
  static World* one = new World;  // threads may outlive static objects
  return *one;
}

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t fault(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t usable() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (w.settings.driver == 0) return cudaErrorInsufficientDriver;
  if (w.settings.n_devices == 0) return cudaErrorNoDevice;
  return w.sticky;
}

constexpr size_t kMostShared = 232448, kMostThreads = 1024;
// Of a multiprocessor; a block takes 1024 bytes of shared memory for itself.
constexpr size_t kMultiprocessorShared = 233472, kBlockShared = 1024, kMultiprocessorThreads = 2048;

cudaError_t refusal(const LaunchConfig& c, const Settings& settings) {
  uint64_t n = 1;
  for (const unsigned side : c.block) n *= side;
  if (n == 0 || n > kMostThreads || c.block[2] > 64) return cudaErrorInvalidConfiguration;
  if (c.grid[0] == 0 || c.grid[1] == 0 || c.grid[2] == 0 || c.grid[0] > 0x7FFFFFFFu ||
      c.grid[1] > 65535 || c.grid[2] > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  if (c.shared_bytes > kMostShared) return cudaErrorInvalidConfiguration;
  if (c.cooperative) {
    if (settings.cooperative == 0) return cudaErrorNotSupported;
    const auto held =
        static_cast<uint64_t>(blocks_per_multiprocessor(static_cast<unsigned>(n), c.shared_bytes));
    const auto places = held * static_cast<uint64_t>(settings.n_multiprocessors);
    if (uint64_t{c.grid[0]} * c.grid[1] * c.grid[2] > places) {
      return cudaErrorCooperativeLaunchTooLarge;
    }
  }
  return cudaSuccess;
}

void set_settings(const Settings& settings) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.settings = settings;
  w.until_failure = settings.fail_at_launch;
  w.failure.clear();
  w.sticky = cudaSuccess;
  w.counts.launches = 0;
}

Settings get_settings() {
  const std::lock_guard lock(world().mutex);
  return world().settings;
}

Counts get_counts() {
  const std::lock_guard lock(world().mutex);
  return world().counts;
}

const char* get_last_failure() {
  thread_local std::string text;
  const std::lock_guard lock(world().mutex);
  text = world().failure;
  return text.c_str();
}

cudaError_t run_now(const LaunchConfig& config, const std::function<void()>& kernel) {
  World& w = world();
  Order order = kAscending;
  bool fails = false;
  {
    const std::lock_guard lock(w.mutex);
    order = w.settings.order;
    fails = w.until_failure >= 0 && w.until_failure-- == 0;
    ++w.counts.launches;
  }
  std::string failure =
      fails ? "a test wants this launch to fail" : Running(config, order, kernel).run();
  const std::lock_guard lock(w.mutex);
  if (failure.empty()) return cudaSuccess;
  w.failure = failure;
  w.sticky = cudaErrorLaunchFailure;
  return cudaSuccess;  // found out when somebody waits for the stream
}

}  // namespace

const Control& control() {
  static const Control table = {set_settings,     get_settings,   get_counts,
                                get_last_failure, current_device, set_current_device};
  return table;
}

int launch(const LaunchConfig& config, std::function<void()> kernel) {
  if (const cudaError_t error = usable(); error != cudaSuccess) return fault(error);
  if (const cudaError_t error = refusal(config, get_settings()); error != cudaSuccess)
    return fault(error);
  return fault(in_stream(config.stream, [config, kernel] { return run_now(config, kernel); }));
}

void check_device(const void* at, size_t n_bytes, const char* what) {
  World& w = world();
  const char* from = static_cast<const char*>(at);
  std::unique_lock lock(w.mutex);
  auto after = w.memory.upper_bound(from);
  const bool found = after != w.memory.begin() && (--after, true) &&
                     from + n_bytes <= after->first + after->second;
  lock.unlock();
  if (!found)
    fail("%s of %zu bytes at %p, which are not of one piece of memory", what, n_bytes, at);
}

int blocks_per_multiprocessor(unsigned n_threads, size_t shared_bytes) {
  const size_t of_threads = kMultiprocessorThreads / n_threads;
  const size_t of_shared = kMultiprocessorShared / (shared_bytes + kBlockShared);
  return static_cast<int>(of_threads < of_shared ? of_threads : of_shared);
}

int device_has_code(bool built_for_all) {
  const Settings s = get_settings();
  const bool has = (s.major == 9 && s.minor == 0) || (built_for_all && s.major >= s.built_from);
  return has ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}

void count_contexts(int64_t n) {
  const std::lock_guard lock(world().mutex);
  world().counts.contexts += n;
}

void count_stream(int64_t streams, int64_t events) {
  const std::lock_guard lock(world().mutex);
  world().counts.streams += streams;
  world().counts.events += events;
}

cudaError_t state_of_device() {
  return fault(usable());
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

extern "C" __attribute__((visibility("default"))) const Control* mm2_cuda_emulator_control() {
  return &control();
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard lock(world().mutex);
  return world().sticky != cudaSuccess ? world().sticky : last_error;
}

cudaError_t cudaGetDeviceCount(int* n) {
  const std::lock_guard lock(world().mutex);
  if (world().settings.driver == 0) return fault(cudaErrorInsufficientDriver);  // *n stays as it is
  *n = world().settings.n_devices;
  return *n == 0 ? fault(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = get_settings().driver;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  const Settings s = get_settings();
  if (s.driver == 0) return fault(cudaErrorInsufficientDriver);
  if (device < 0 || device >= s.n_devices) return fault(cudaErrorInvalidDevice);
  *p = {};
  strcpy(p->name, "Emulated device");
  p->totalGlobalMem = s.memory_bytes;
  p->major = s.major;
  p->minor = s.minor;
  p->multiProcessorCount = s.n_multiprocessors;
  p->l2CacheSize = 50 << 20;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const Settings s = get_settings();
  if (s.driver == 0) return fault(cudaErrorInsufficientDriver);
  if (device < 0 || device >= s.n_devices) return fault(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = s.n_multiprocessors;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = s.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = s.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kMostShared;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = kMostShared + 1024;
      break;
    case cudaDevAttrClockRate:
      *value = 1000000;
      break;
    case cudaDevAttrCooperativeLaunch:
      *value = s.cooperative;
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* n_free, size_t* n_total) {
  const Settings s = get_settings();
  if (const cudaError_t error = usable(); error != cudaSuccess) return fault(error);
  const auto used = static_cast<size_t>(get_counts().allocated_bytes);
  *n_total = s.memory_bytes;
  *n_free = used < s.memory_bytes ? s.memory_bytes - used : 0;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t n_bytes) {
  if (current_device() < 0) set_current_device(0);  // as the runtime does
  if (const cudaError_t error = usable(); error != cudaSuccess) return fault(error);
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const size_t used = static_cast<size_t>(w.counts.allocated_bytes);
  *memory = nullptr;
  if (n_bytes == 0) return cudaSuccess;
  if (n_bytes > w.settings.memory_bytes || used > w.settings.memory_bytes - n_bytes ||
      posix_memalign(memory, 256, n_bytes) != 0) {
    return fault(cudaErrorMemoryAllocation);
  }
  memset(*memory, 0xFF, n_bytes);  // NaN, and not an index
  w.memory[static_cast<char*>(*memory)] = n_bytes;
  w.counts.allocated_bytes += static_cast<int64_t>(n_bytes);
  ++w.counts.allocations;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (memory == nullptr) return cudaSuccess;
  const auto found = w.memory.find(static_cast<char*>(memory));
  if (found == w.memory.end()) return fault(cudaErrorInvalidValue);
  w.counts.allocated_bytes -= static_cast<int64_t>(found->second);
  --w.counts.allocations;
  w.memory.erase(found);
  free(memory);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** memory, size_t n_bytes, unsigned) {
  if (const cudaError_t error = usable(); error != cudaSuccess) return fault(error);
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const size_t used = static_cast<size_t>(w.counts.pinned_bytes);
  if (n_bytes > w.settings.pinned_bytes || used > w.settings.pinned_bytes - n_bytes ||
      posix_memalign(memory, 4096, n_bytes) != 0) {
    return fault(cudaErrorMemoryAllocation);
  }
  w.pinned[*memory] = n_bytes;
  w.counts.pinned_bytes += static_cast<int64_t>(n_bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (memory == nullptr) return cudaSuccess;
  const auto found = w.pinned.find(memory);
  if (found == w.pinned.end()) return fault(cudaErrorInvalidValue);
  w.counts.pinned_bytes -= static_cast<int64_t>(found->second);
  w.pinned.erase(found);
  free(memory);
  return cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "cudaError";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    default:
      return "another error of the emulator";
  }
}
