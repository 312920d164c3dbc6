#pragma once

#include "kernels/cuda/plugin/device.h"

namespace mm2::kernels::cuda {

/// n_lines of width bytes at a distance of pitch.
struct Lines {
  const char* data;
  int64_t n_lines, width, pitch;
};

/// Sends the lines, without gaps, through the slot's stream; `from` may be reused when it returns,
/// `to` is there when the stream has got so far.
cudaError_t send(Slot* slot, void* to, const Lines& from);

}  // namespace mm2::kernels::cuda
