// Current devices and contexts of threads. Inside the emulator only.
#pragma once

#include <stdint.h>

namespace cuda_emulator {

/// -1 where the thread has no context.
int32_t current_device();
void set_current_device(int32_t index);
/// Contexts that were retained and not released.
void count_contexts(int64_t n);

}  // namespace cuda_emulator
