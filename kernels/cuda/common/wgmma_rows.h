// What one thread's part of a warpgroup's product is, written from the rules in fragments.h: the host's
// side of wgmma.h. It reads shared memory through the descriptor, bit by bit, as the tensor core does.
#pragma once

#include <stdint.h>

#include "kernels/api/numbers.h"
#include "kernels/cuda/common/fragments.h"

namespace mm2::kernels::cuda {

/// Shared memory of a block, and whether all of a product's reads lay in it and began where they may.
struct SharedWindow {
  const uint8_t* bytes;
  uint32_t size;
};

/// Whether a descriptor is one that fragments.h makes.
inline bool is_in_place(const DescriptorFields& f, bool is_mn_major) {
  // A step within a row of a K-major tile moves the address below the first 128 bytes only.
  return f.swizzled == 1 && f.base == 0 && f.stride == kSwizzleBytes &&
         f.address % kSwizzleBytes < (is_mn_major ? 1u : uint32_t{kTileRowBytes});
}

/// A number of BF16 of an operand; NaN where the descriptor is no good (in_place), or leads out of
/// shared memory.
inline float read_operand(const SharedWindow& shared, const DescriptorFields& f, bool in_place,
                          bool is_mn_major, uint32_t row, uint32_t k) {
  const uint32_t at = operand_address(f, is_mn_major, row, k);
  if (!in_place || at + 2 > shared.size) return float_of(0x7FC00000u);
  return bf16_to_f32(static_cast<uint16_t>(shared.bytes[at] | shared.bytes[at + 1] << 8));
}
inline float read_operand(const SharedWindow& shared, uint64_t d, bool is_mn_major, uint32_t row,
                          uint32_t k) {
  const DescriptorFields f = fields_of(d);
  return read_operand(shared, f, is_in_place(f, is_mn_major), is_mn_major, row, k);
}

/// The 16 numbers of one row of A out of the registers of the four threads that hold it:
/// registers[i] = those of the i-th thread, rows 8 apart in registers 0, 2 and 1, 3.
inline void row_of_a(const uint32_t (&registers)[4][4], int lower, float (&row)[16]) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const uint32_t pair = registers[i][j / 2 * 2 + lower];
      row[i * 2 + j / 2 * 8 + j % 2] =
          bf16_to_f32(static_cast<uint16_t>(j % 2 == 0 ? pair : pair >> 16));
    }
  }
}

/// D of one thread: registers d[0 .. n / 2), rows[0] and rows[1] = its two rows of A. The products are
/// exact, their sum with D is rounded once, to nearest. The tensor core keeps fewer bits in between:
/// bounds, not bits, are what this has in common with it.
inline void multiply_rows(float* d, int n, int thread, const float (&rows)[2][16],
                          const SharedWindow& shared, uint64_t b, bool is_mn_major_b,
                          bool accumulates) {
  const DescriptorFields f = fields_of(b);
  const bool in_place = is_in_place(f, is_mn_major_b);
  for (int i = 0; i < n / 2; i += 4) {
    for (int odd = 0; odd < 2; ++odd) {
      const auto column = static_cast<uint32_t>(element_of_d(thread, i + odd).column);
      float numbers[kWgmmaDepth];
      for (uint32_t k = 0; k < kWgmmaDepth; ++k) {
        numbers[k] = read_operand(shared, f, in_place, is_mn_major_b, column, k);
      }
      for (int lower = 0; lower < 2; ++lower) {
        float& to = d[i + odd + lower * 2];
        double sum = accumulates ? double{to} : 0.0;
        for (int k = 0; k < kWgmmaDepth; ++k) sum += double{rows[lower][k]} * double{numbers[k]};
        to = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace mm2::kernels::cuda
