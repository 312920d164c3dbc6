// Where activations lie inside an operation: rows of floats, already rounded as the caller asked, at
// a distance of activation_stride, which keeps rows of 3072 numbers out of each other's cache sets.
// Numbers from n_in up to a whole sum group are 0.
#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/types.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::generic {

using layout::block_at;
using layout::Blocks;
using layout::blocks_of;
using layout::kBlockRows;
using layout::n_blocks;
using layout::n_pairs;
using layout::round_up;

static inline int64_t activation_stride(int64_t n_in) {
  return round_up(n_in, kSumGroup) + 16;
}

/// Zeros from n_in up to a whole sum group.
static inline void pad_row(float* row, int64_t n_in) {
  for (int64_t i = n_in; i < round_up(n_in, kSumGroup); ++i) row[i] = 0.0f;
}

/// Floats of scratch, cut off one after the other; from null it only counts.
struct Cutter {
  char* base;
  int64_t bytes = 0;

  template <typename T>
  T* take(int64_t n) {
    T* here = base == nullptr ? nullptr : reinterpret_cast<T*>(base + bytes);
    bytes += round_up(n * int64_t{sizeof(T)}, 64);
    return here;
  }
};

}  // namespace mm2::kernels::generic
