// Matrices of 8 x 8 numbers of 16 bits between a warp's registers and shared memory. In registers each
// lane has two neighbours of a row: lane 4 r + i has columns 2 i (low half) and 2 i + 1 of row r.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels/cuda/common/ptx.h"

namespace mm2::kernels::cuda {

/// Stores four matrices by columns: the 8 numbers of column j of matrix m go to the 16 bytes, a multiple
/// of 16, that lane 8 m + j names. pairs[m]: of matrix m. The whole warp calls it.
#if defined(MM2_CUDA_EMULATED)

inline void store_transposed(void* column, const uint32_t (&pairs)[4]) {
  uint32_t lanes[32][4];
  cuda_emulator::show(pairs, 0, 32, lanes);
  const unsigned lane = threadIdx.x % 32, m = lane / 8, j = lane % 8;
  cuda_emulator::check_shared(column, 16, "a column of a matrix");
  if (reinterpret_cast<uintptr_t>(column) % 16 != 0) {
    cuda_emulator::fail("a column of a matrix begins at no multiple of 16");
  }
  for (unsigned row = 0; row < 8; ++row) {
    const uint32_t pair = lanes[row * 4 + j / 2][m];
    static_cast<uint16_t*>(column)[row] = static_cast<uint16_t>(j % 2 == 0 ? pair : pair >> 16);
  }
}

#else

__device__ __forceinline__ void store_transposed(void* column, const uint32_t (&pairs)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   shared_address(column)),
               "r"(pairs[0]), "r"(pairs[1]), "r"(pairs[2]), "r"(pairs[3])
               : "memory");
}

#endif

}  // namespace mm2::kernels::cuda
