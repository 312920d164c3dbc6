// Where the numbers of a warpgroup's product (wgmma, m64nNk16, BF16 in, F32 out) lie: in registers, in
// shared memory, and what a descriptor says about the latter.
//
// Shared memory holds tiles whose rows are 128 bytes = 64 numbers of BF16, swizzled: within each 1,024
// bytes, 8 rows of 8 words of 16 bytes, word w of row r lies at word w ^ r. Tiles begin at multiples of
// 1,024, so the swizzle of an address is that of the offset in its tile.
//   K-major:  row = an index of M or N, 64 numbers along K. A tile of n rows is n * 128 bytes.
//   MN-major: row = an index of K, 64 numbers along M or N. Wider ones are tiles one behind the other.
#pragma once

#include <stdint.h>

#include "kernels/api/host_device.h"

// Before a loop whose counter picks registers: all of its turns have to be written out.
#if defined(__CUDACC__)
#define MM2_UNROLL _Pragma("unroll")
#define MM2_ROLLED _Pragma("unroll 1")
#else
#define MM2_UNROLL
#define MM2_ROLLED
#endif

namespace mm2::kernels::cuda {

constexpr int kWgmmaRows = 64;    // M of the instruction
constexpr int kWgmmaDepth = 16;   // K of the instruction
constexpr int kTileColumns = 64;  // numbers of BF16 in a row of a tile
constexpr int kTileRowBytes = 128;
constexpr int kSwizzleBytes = 1024;

/// Of a byte in a tile, or of an address in shared memory; its own inverse.
MM2_HD constexpr uint32_t swizzle(uint32_t offset) {
  return offset ^ (offset >> 3 & 0x70u);
}

/// Byte of the number [row, column] of a tile.
MM2_HD constexpr uint32_t tile_byte(uint32_t row, uint32_t column) {
  return swizzle(row * kTileRowBytes + column * 2);
}

struct Element {
  int row, column;
};

/// The number in half `half` (0 = low) of register `reg` (0..3) of A in thread `thread` (0..127).
MM2_HD constexpr Element element_of_a(int thread, int reg, int half) {
  return {thread / 32 * 16 + thread % 32 / 4 + reg % 2 * 8, thread % 4 * 2 + reg / 2 * 8 + half};
}

/// The number in register `reg` (0..N/2-1) of D.
MM2_HD constexpr Element element_of_d(int thread, int reg) {
  return {thread / 32 * 16 + thread % 32 / 4 + reg / 2 % 2 * 8,
          reg / 4 * 8 + thread % 4 * 2 + reg % 2};
}

/// The fields of a descriptor; byte counts are kept without their lowest 4 bits.
struct DescriptorFields {
  uint32_t address;   // bits 0-13: of the first row, in shared memory
  uint32_t leading;   // bits 16-29: MN-major: from one tile to the next along M or N
  uint32_t stride;    // bits 32-45: from 8 rows of a tile to the next 8
  uint32_t base;      // bits 49-51: 0 where tiles begin at multiples of 1,024
  uint32_t swizzled;  // bits 62-63: 1 = 128 bytes, 2 = 64, 3 = 32, 0 = not at all
};

MM2_HD constexpr uint64_t descriptor(const DescriptorFields& f) {
  return uint64_t{(f.address >> 4) & 0x3FFFu} | uint64_t{(f.leading >> 4) & 0x3FFFu} << 16 |
         uint64_t{(f.stride >> 4) & 0x3FFFu} << 32 | uint64_t{f.base & 7u} << 49 |
         uint64_t{f.swizzled & 3u} << 62;
}

MM2_HD constexpr DescriptorFields fields_of(uint64_t d) {
  return {static_cast<uint32_t>(d & 0x3FFFu) << 4, static_cast<uint32_t>(d >> 16 & 0x3FFFu) << 4,
          static_cast<uint32_t>(d >> 32 & 0x3FFFu) << 4, static_cast<uint32_t>(d >> 49 & 7u),
          static_cast<uint32_t>(d >> 62 & 3u)};
}

/// A K-major tile. The 16 columns of step s (0..3) begin s * kStepKMajor further.
MM2_HD constexpr uint64_t k_major(uint32_t shared_address) {
  return descriptor({shared_address, 16, kSwizzleBytes, 0, 1});
}

/// MN-major tiles, `tile_bytes` apart. The 16 rows of step s begin s * kStepMnMajor further.
MM2_HD constexpr uint64_t mn_major(uint32_t shared_address, uint32_t tile_bytes) {
  return descriptor({shared_address, tile_bytes, kSwizzleBytes, 0, 1});
}

/// What is added to a descriptor for each further 16 of K: shared memory ends long before the
/// address would carry into the next field.
constexpr uint64_t kStepKMajor = kWgmmaDepth * 2 / 16;
constexpr uint64_t kStepMnMajor = kWgmmaDepth * kTileRowBytes / 16;

/// What the instruction reads at [row of M or N, k]: the byte in shared memory, of 0..15 for k.
MM2_HD constexpr uint32_t operand_address(const DescriptorFields& f, bool is_mn_major, uint32_t row,
                                          uint32_t k) {
  const uint32_t at =
      is_mn_major ? row / 64 * f.leading + row % 64 * 2 + k / 8 * f.stride + k % 8 * kTileRowBytes
                  : row / 8 * f.stride + row % 8 * kTileRowBytes + k * 2;
  return f.swizzled == 1 ? swizzle(f.address + at) : f.address + at;
}

}  // namespace mm2::kernels::cuda
