// Packing of weights (kernels/cpu/layout/weights.h) in squares. Whatever the format, 64 rows become
// steps of 64 dwords, one of each row: 8 codes of 4 bits, 4 of 8 bits, 2 numbers of 16, one of 32. So
// packing transposes dwords, that are made of codes before or shuffled after. An Isa has
//   kRows, kSteps      a square: kSteps dwords of each of kRows rows
//   square<codes>(from, stride, to, lane)
//                      from: kRows rows, `stride` bytes apart; to[s] + 4 lane: where step s of them goes
//   scales(number, from, stride, to)
//                      kRows scales, `stride` floats apart, as numbers one behind the other
#pragma once

#include "kernels/cpu/layout/pack.h"

namespace mm2::kernels::common {

using layout::Blocks;
using layout::Codes;
using layout::kBlockRows;
using layout::Record;

/// Stands for E << 3 | m of Codes::kRing where a number of scales is named.
constexpr int32_t kRingScale = -1;

static inline int64_t bytes_of_scale(int32_t number) {
  return number == kRingScale ? 1 : bytes_of(number);
}

/// Steps of one record.
static inline int64_t steps_of(const Format& f, const Record& record) {
  switch (layout::codes_of(f)) {
    case layout::kNumbers:
      return record.bytes / (4 * kBlockRows);
    case layout::kBytes:
      return record.cols / 4;
    default:
      return record.cols / 8;
  }
}

/// Scales of 0 and below change the codes of a ring: they are left to the plain way.
static inline bool all_positive(const float* scales, int64_t n) {
  int32_t n_others = 0;
  for (int64_t i = 0; i < n; ++i) n_others |= scales[i] > 0 ? 0 : 1;
  return n_others == 0;
}

template <typename Isa>
static void pack_scales(const MatrixRows& rows, const Blocks& blocks, int64_t row0, int64_t n,
                        char* block) {
  const Format& f = rows.format;
  const Record& record = blocks.record;
  const int64_t patches = n_patches(f, rows.n_in);
  const int32_t number = layout::codes_of(f) == layout::kRing ? kRingScale : f.number;
  for (int64_t r = 0; r < n; ++r) {
    const int64_t first = row0 * patches + r * record.cols / f.patch_cols;
    char* to = block + r * record.bytes;
    for (int64_t i = 0; i < kBlockRows && blocks.table == 0; i += Isa::kRows) {
      Isa::scales(number, rows.scales + first + i * patches, static_cast<int32_t>(patches),
                  to + record.scales + i * bytes_of_scale(number));
    }
    for (int64_t i = 0; i < kBlockRows && f.zeros != 0; ++i) {
      to[record.zeros + i] = static_cast<char>(rows.zeros[first + i * patches]);
    }
  }
}

template <typename Isa>
static inline void pack_square(Codes codes, const uint8_t* from, int64_t stride, char* const* to,
                               int64_t lane) {
  switch (codes) {
    case layout::kNumbers:
      return Isa::template square<layout::kNumbers>(from, stride, to, lane);
    case layout::kBytes:
      return Isa::template square<layout::kBytes>(from, stride, to, lane);
    case layout::kNibbles:
      return Isa::template square<layout::kNibbles>(from, stride, to, lane);
    case layout::kRing:
      return Isa::template square<layout::kRing>(from, stride, to, lane);
  }
}

/// The whole records of a full block that squares cover, and how many they are.
template <typename Isa>
static int64_t pack_squares(const MatrixRows& rows, const Blocks& blocks, int64_t row0,
                            char* block) {
  const Format& f = rows.format;
  const Codes codes = layout::codes_of(f);
  const int64_t patches = n_patches(f, rows.n_in);
  if (codes == layout::kRing && !all_positive(rows.scales + row0 * patches, kBlockRows * patches)) {
    return 0;
  }
  const int64_t row_bytes = rows.n_in * (codes == layout::kNumbers ? bytes_of(f.number) : 1);
  const int64_t width =
      Isa::kSteps * (codes == layout::kNumbers || codes == layout::kBytes ? 4 : 8);
  const uint8_t* from = static_cast<const uint8_t*>(rows.codes) + row0 * row_bytes;
  const int64_t steps = steps_of(f, blocks.record), n_squares = row_bytes / width;
  for (int64_t square = 0; square < n_squares; ++square, from += width) {
    char* to[Isa::kSteps];
    for (int64_t s = 0; s < Isa::kSteps; ++s) {
      const int64_t step = square * Isa::kSteps + s;
      to[s] = block + step / steps * blocks.record.bytes + step % steps * 4 * kBlockRows;
    }
    for (int64_t i = 0; i < kBlockRows; i += Isa::kRows) {
      pack_square<Isa>(codes, from + i * row_bytes, row_bytes, to, i);
    }
  }
  const int64_t n = n_squares * Isa::kSteps / steps;
  if (codes != layout::kNumbers) pack_scales<Isa>(rows, blocks, row0, n, block);
  return n;
}

/// Backend::pack.
template <typename Isa>
static void pack(const MatrixRows* rows, void* packed) {
  const Blocks blocks = layout::blocks_of(rows->format, rows->n_out, rows->n_in);
  for (int64_t row = 0; row < rows->n_rows; row += kBlockRows) {
    char* block = static_cast<char*>(packed) + (rows->first_row + row) / kBlockRows * blocks.bytes;
    const bool full = rows->n_rows - row >= kBlockRows;
    const int64_t done = full ? pack_squares<Isa>(*rows, blocks, row, block) : 0;
    layout::pack_block(*rows, blocks, row, done, block);
  }
  layout::pack_order(*rows, blocks, packed);
}

}  // namespace mm2::kernels::common
