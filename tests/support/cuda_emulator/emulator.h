// What tests tell the emulator to be, and ask it afterwards.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace cuda_emulator {

/// In which order the threads of a block run between two places where they wait.
enum Order : int32_t { kAscending = 0, kDescending = 1 };

struct Settings {
  int32_t n_devices = 2;
  int32_t driver = 13000;  // 0: there is none
  int32_t major = 9, minor = 0;
  int32_t built_from = 1000;  // portable kernels are for this major version and later ones, and 9.0
  int32_t n_multiprocessors = 4;
  size_t memory_bytes = size_t{1} << 40;  // of each device: cudaMalloc beyond it fails
  size_t pinned_bytes = size_t{1} << 40;
  int32_t cooperative = 1;  // 0: it has no cooperative launches
  Order order = kAscending;
  int64_t fail_at_launch = -1;  // this many launches from now one fails as kernels do; -1: none
};

struct Counts {
  int64_t launches, allocated_bytes, allocations, pinned_bytes, streams, events, contexts;
};

/// Everything through one table, so that it can be handed out of a library opened at run time.
struct Control {
  void (*set)(const Settings& settings);  // forgets failures and counts of launches too
  Settings (*settings)();
  Counts (*counts)();
  const char* (*last_failure)();  // why the last launch failed, "" where none did
  int32_t (*current_device)();    // of this thread, -1: none has been made current
  void (*set_current_device)(int32_t index);
};
const Control& control();

inline void set(const Settings& settings) {
  control().set(settings);
}
inline const char* last_failure() {
  return control().last_failure();
}
inline Counts counts() {
  return control().counts();
}

/// extern "C" const Control* of an emulated plug-in.
constexpr const char* kControlSymbol = "mm2_cuda_emulator_control";

}  // namespace cuda_emulator
