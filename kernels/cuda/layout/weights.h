// Where packed weights lie in a device's memory: one layout for decode and for prefill.
//
// Weights are the A operand of wgmma m64nNk16, taken from registers, and tokens are its columns. So
// a matrix is blocks of 64 rows, one after the other (the last one filled up with rows of zeros), a
// block is records of 128 columns (the last one filled up with codes of 0), and a record is tiles of
// codes, then what scales them, then their zeros. Every part is a multiple of 16 bytes: a bulk copy
// moves any run of records.
//
// A tile is 2,048 bytes: 128 threads of a warpgroup times 16 bytes. Thread t = 32 w + 4 g + q has in
// its dwords the registers a0 .. a3 of each step of 16 columns: register j is row 16 w + g + 8 (j mod
// 2), columns 8 (j / 2) + 2 q and the next one, the even column low:
//   kNibbles: 64 columns; dword s is step s; register j in bits 4 j .. and 16 + 4 j ..
//   kBytes:   32 columns; dword 2 s + j / 2 is step s; register j in bits 8 (j mod 2) .. and 16 + ..
//   kHalves:  16 columns; dword j is register j
// kFloats have no tiles: a block is its rows, one after the other, of whole records.
//
// Scales (Record: one of each row for each group of columns, or, where all rows of a block share
// them, an F32 for each of four groups) and zeros (a nibble or a byte each) stand in the order of
// `rank`: those of the two rows of a thread are neighbours, and those of one row. A scale of E4M3 is never
// negative: the codes have turned signs instead.
//
// After the last block, where Format::ordered: the order, n_in numbers of I32.
#pragma once

#include "kernels/api/format.h"
#include "kernels/api/types.h"

namespace mm2::kernels::cuda {

constexpr int64_t kBlockRows = 64;
constexpr int64_t kRecordCols = 128;
constexpr int64_t kTileBytes = 2048;
constexpr int32_t kWarpgroup = 128;  // threads
constexpr int32_t kStepCols = 16;    // columns of one wgmma

/// How the codes of a matrix lie.
enum Codes : int32_t { kNibbles = 0, kBytes = 1, kHalves = 2, kFloats = 3 };

/// Everything about a packed matrix; plain numbers, so that kernels take it by value.
struct WeightLayout {
  Format format;
  int64_t n_out, n_in;
  int32_t codes;               // a Codes
  int32_t groups;              // scales of a row in a record: 8, 4, 2, 1, or 0 where plain
  int32_t group_cols;          // columns of one of them
  int32_t shared;              // 1: the rows of a block share their scales
  int32_t scale;               // Number of a stored scale
  int32_t tile_cols, n_tiles;  // of a record; 0 where kFloats
  int32_t scales, zeros;       // bytes from the start of a record
  int32_t record_bytes;
  int64_t n_records;  // of a block
  int64_t block_bytes;
  int64_t n_blocks;
  int64_t order;  // bytes from the start of the matrix
  int64_t bytes;  // of the matrix
};

MM2_HD static inline int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

MM2_HD static inline Codes codes_of(const Format& f) {
  if (is_plain(f)) return f.number == kF32 ? kFloats : kHalves;
  return f.scheme == kFp8 || (f.scheme == kInteger && f.bits == 8) ? kBytes : kNibbles;
}

/// Bytes of the codes of a record.
MM2_HD static inline int64_t record_code_bytes(Codes codes) {
  constexpr int64_t kHalfBytes[] = {1, 2, 4, 8};  // of one number, in the order of Codes
  return kBlockRows * kRecordCols * kHalfBytes[codes] / 2;
}

MM2_HD static inline WeightLayout layout_of(const Format& f, int64_t n_out, int64_t n_in) {
  WeightLayout l{};
  l.format = f;
  l.n_out = n_out;
  l.n_in = n_in;
  const Codes codes = codes_of(f);
  l.codes = codes;
  l.scales = static_cast<int32_t>(record_code_bytes(codes));
  l.zeros = l.scales;
  if (!is_plain(f)) {
    l.group_cols = scale_in_code(f) ? 16 : static_cast<int32_t>(sum_group(f));
    l.groups = static_cast<int32_t>(kRecordCols) / l.group_cols;
    l.shared = !scale_in_code(f) && (f.patch_rows % kBlockRows == 0 || f.patch_rows >= n_out);
    l.scale = l.shared != 0 ? int32_t{kF32} : f.number;
    const int64_t each = kBlockRows * l.groups;
    l.zeros += l.shared != 0 ? 16 : static_cast<int32_t>(each * bytes_of(l.scale));
    l.record_bytes = f.zeros == 0 ? 0 : static_cast<int32_t>(codes == kNibbles ? each / 2 : each);
  }
  l.record_bytes += l.zeros;
  if (codes != kFloats) {
    l.n_tiles = l.scales / static_cast<int32_t>(kTileBytes);
    l.tile_cols = static_cast<int32_t>(kRecordCols) / l.n_tiles;
  }
  l.n_records = (n_in + kRecordCols - 1) / kRecordCols;
  l.block_bytes = l.n_records * l.record_bytes;
  l.n_blocks = (n_out + kBlockRows - 1) / kBlockRows;
  l.order = l.n_blocks * l.block_bytes;
  l.bytes = l.order + (f.ordered != 0 ? round_up(n_in * 4, 64) : 0);
  return l;
}

/// Bytes of a packed matrix; -1 where there is no such format, or no such size.
MM2_HD static inline int64_t packed_bytes(const Format& f, int64_t n_out, int64_t n_in) {
  constexpr int64_t kMost = INT64_MAX / 64;  // of numbers, of 4 bytes and with scales of 4
  if (n_out < 0 || n_in < 0 || n_out > kMost / 64 || n_in > kMost / 256) return -1;
  if (!is_format(f, n_in)) return -1;
  if (n_in > 0 && round_up(n_out, kBlockRows) > kMost / round_up(n_in, kRecordCols)) return -1;
  return layout_of(f, n_out, n_in).bytes;
}

/// The row within a block and the even column within a step that a thread of a warpgroup has in
/// register j of wgmma's A. Its second column is the next one.
MM2_HD static inline int32_t fragment_row(int32_t thread, int32_t j) {
  return thread / 32 * 16 + thread % 32 / 4 + j % 2 * 8;
}
MM2_HD static inline int32_t fragment_col(int32_t thread, int32_t j) {
  return thread % 4 * 2 + j / 2 * 8;
}

/// Of a row within a block: its place among the scales and zeros.
MM2_HD static inline int32_t rank(int32_t row) {
  return row / 16 * 16 + row % 8 * 2 + row / 8 % 2;
}
MM2_HD static inline int32_t row_of_rank(int32_t rank) {
  return rank / 16 * 16 + rank / 2 % 8 + rank % 2 * 8;
}

/// A number within the packed matrix: bytes to a dword, and the lowest of its bits in there.
struct Place {
  int64_t dword;
  int32_t shift;
};

/// Where block row / 64 has the record of column k.
MM2_HD static inline int64_t record_at(const WeightLayout& l, int64_t row, int64_t k) {
  return row / kBlockRows * l.block_bytes + k / kRecordCols * l.record_bytes;
}

MM2_HD static inline Place code_place(const WeightLayout& l, int64_t row, int64_t k) {
  if (l.codes == kFloats) {
    const int64_t stride = l.n_records * kRecordCols;
    return {row / kBlockRows * l.block_bytes + (row % kBlockRows * stride + k) * 4, 0};
  }
  const auto in_block = static_cast<int32_t>(row % kBlockRows);
  const auto in_record = static_cast<int32_t>(k % kRecordCols);
  const int32_t step = in_record % l.tile_cols / kStepCols, col = in_record % kStepCols;
  const int32_t thread = in_block / 16 * 32 + in_block % 8 * 4 + col % 8 / 2;
  const int32_t j = in_block / 8 % 2 + col / 8 * 2, odd = col % 2;
  int32_t dword = step, shift = 4 * j;
  if (l.codes == kBytes) dword = 2 * step + j / 2, shift = j % 2 * 8;
  if (l.codes == kHalves) dword = j, shift = 0;
  const int64_t tile = in_record / l.tile_cols * kTileBytes;
  return {record_at(l, row, k) + tile + thread * 16 + dword * 4, shift + 16 * odd};
}

/// Bytes from the start of the matrix to the scale of a number.
MM2_HD static inline int64_t scale_place(const WeightLayout& l, int64_t row, int64_t k) {
  const int64_t group = k % kRecordCols / l.group_cols;
  const int64_t at =
      l.shared != 0 ? group : rank(static_cast<int32_t>(row % kBlockRows)) * l.groups + group;
  return record_at(l, row, k) + l.scales + at * bytes_of(l.scale);
}

MM2_HD static inline Place zero_place(const WeightLayout& l, int64_t row, int64_t k) {
  const int64_t group = k % kRecordCols / l.group_cols;
  const int64_t at = rank(static_cast<int32_t>(row % kBlockRows)) * l.groups + group;
  const int64_t each = l.codes == kNibbles ? 4 : 8, in_dword = 32 / each;
  return {record_at(l, row, k) + l.zeros + at / in_dword * 4,
          static_cast<int32_t>(at % in_dword * each)};
}

/// Bits of one code.
MM2_HD static inline int32_t code_bits(const WeightLayout& l) {
  return 4 << l.codes;
}

MM2_HD static inline uint32_t bits_at(const void* packed, Place place, int32_t n_bits) {
  uint32_t dword;
  memcpy(&dword, static_cast<const char*>(packed) + place.dword, 4);
  return n_bits == 32 ? dword : dword >> place.shift & ((1u << n_bits) - 1);
}

/// The number that a code stands for before its scale: exact in BF16 but where plain (kF16, kF32).
MM2_HD static inline float number_at(const WeightLayout& l, const void* packed, int64_t row,
                                     int64_t k) {
  const uint32_t code = bits_at(packed, code_place(l, row, k), code_bits(l));
  switch (l.format.scheme) {
    case kInteger: {
      const auto half = static_cast<int32_t>(1u << (l.format.bits - 1));
      const int32_t zero =
          l.format.zeros == 0
              ? half
              : static_cast<int32_t>(bits_at(packed, zero_place(l, row, k), code_bits(l)));
      return static_cast<float>(static_cast<int32_t>(code) - zero);
    }
    case kFp8:
      return e4m3_to_f32(static_cast<uint8_t>(code));
    case kFp4:
      return e2m1_to_f32(static_cast<uint8_t>(code));
    default:
      if (l.format.number == kF32) return float_of(code);
      return l.format.number == kF16 ? f16_to_f32(static_cast<uint16_t>(code))
                                     : bf16_to_f32(static_cast<uint16_t>(code));
  }
}

/// A stored scale.
MM2_HD static inline float scale_from(int32_t number, const void* from) {
  const char* bytes = static_cast<const char*>(from);
  uint32_t all = 0;
  memcpy(&all, bytes, 1);
  if (number == kE8M0) return e8m0_to_f32(static_cast<uint8_t>(all));
  if (number == kE4M3) return e4m3_to_f32(static_cast<uint8_t>(all));
  uint16_t half = 0;
  memcpy(&half, bytes, 2);
  if (number == kBF16) return bf16_to_f32(half);
  if (number == kF16) return f16_to_f32(half);
  memcpy(&all, bytes, 4);
  return float_of(all);
}

MM2_HD static inline float scale_at(const WeightLayout& l, const void* packed, int64_t row,
                                    int64_t k) {
  return scale_from(l.scale, static_cast<const char*>(packed) + scale_place(l, row, k));
}

/// Column i of the packed matrix meets activation order[i]; null where that is i.
MM2_HD static inline const int32_t* order_of(const WeightLayout& l, const void* packed) {
  if (l.format.ordered == 0) return nullptr;
  return reinterpret_cast<const int32_t*>(static_cast<const char*>(packed) + l.order);
}

}  // namespace mm2::kernels::cuda
