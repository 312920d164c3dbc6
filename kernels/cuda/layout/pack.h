// Packing into the layout of weights.h, dword by dword: the host loops over them, a device has a
// thread for each.
#pragma once

#include "kernels/cuda/layout/weights.h"

namespace mm2::kernels::cuda {

/// Bits 1 << CodeLayout of the layouts of codes that are taken beside bytes.
constexpr int32_t kTakenCodeLayouts =
    1 << kNibblesOfRows | 1 << kNibblesOfWords | 1 << kNibblesOfEight;

/// The code of a column, as it will be packed, of row `row` of `rows`.
MM2_HD static inline uint32_t code_of(const MatrixRows& rows, int64_t row, int64_t k) {
  const char* bytes = static_cast<const char*>(rows.codes);
  if (is_plain(rows.format)) {
    const int64_t width = bytes_of(rows.format.number);
    uint32_t number = 0;
    memcpy(&number, bytes + (row * rows.n_in + k) * width, 2);
    if (width == 4) memcpy(&number, bytes + (row * rows.n_in + k) * width, 4);
    return number;
  }
  int64_t dword, nibble;
  switch (rows.code_layout) {
    case kNibblesOfRows:
      dword = row * rows.code_stride + k / 8, nibble = k % 8;
      break;
    case kNibblesOfWords: {
      const int64_t stored = rows.format.ordered != 0 ? rows.order[k] : k;
      dword = stored / 8 * rows.code_stride + row, nibble = stored % 8;
      break;
    }
    case kNibblesOfEight:  // rows 0 2 4 6 1 3 5 7 from the lowest nibble on
      dword = k * rows.code_stride + row / 8, nibble = row % 8 / 2 + row % 2 * 4;
      break;
    default:
      return static_cast<uint8_t>(bytes[row * rows.n_in + k]);
  }
  uint32_t word;
  memcpy(&word, bytes + dword * 4, 4);
  return word >> (4 * nibble) & 15u;
}

/// The code whose number is 0, where a row or a column only fills up. With zeros it is any: what
/// fills up a row meets activations of 0.
MM2_HD static inline uint32_t code_of_nothing(const Format& f) {
  return f.scheme == kInteger && f.zeros == 0 ? 1u << (f.bits - 1) : 0u;
}

/// Bits of the scale of row `row` of `rows` for a group of columns that begins with k; 0 for rows
/// and columns that are not there.
MM2_HD static inline uint32_t scale_bits(const WeightLayout& l, const MatrixRows& rows, int64_t row,
                                         int64_t k) {
  if (row >= rows.n_rows || k >= rows.n_in) return 0;
  const int64_t at = row * n_patches(rows.format, rows.n_in) + k / rows.format.patch_cols;
  if (rows.scale_codes != nullptr && l.scale == kE4M3) return rows.scale_codes[at];
  const float scale = rows.scales[at];
  switch (l.scale) {
    case kE4M3:
      return f32_to_e4m3(scale);
    case kE8M0:
      return bits_of(scale) >> 23 & 0xFFu;
    case kBF16:
      return f32_to_bf16(scale);
    case kF16:
      return f32_to_f16(scale);
    default:
      return bits_of(scale);
  }
}

/// What turns a code of kFp4 whose scale, of E4M3, is negative: its sign. A stored scale is never negative.
MM2_HD static inline uint32_t turned_sign(const WeightLayout& l, const MatrixRows& rows,
                                          int64_t row, int64_t k) {
  if (l.scale != kE4M3 || l.groups != 8) return 0;
  return scale_bits(l, rows, row, k) >> 4 & 8u;
}

/// What stands behind the codes: `at` bytes from the start of record r of the block of rows from
/// row0 on.
MM2_HD static inline uint32_t pack_dword_of_scales(const WeightLayout& l, const MatrixRows& rows,
                                                   int64_t row0, int64_t r, int32_t at) {
  const bool of_zeros = at >= l.zeros;
  const int32_t bits = of_zeros ? code_bits(l) : static_cast<int32_t>(bytes_of(l.scale) * 8);
  const int32_t first = (at - (of_zeros ? l.zeros : l.scales)) * 8 / bits;
  uint32_t dword = 0;
  for (int32_t i = 0; i < 32 / bits; ++i) {
    const bool one = !of_zeros && l.shared != 0;
    const int32_t group = one ? first + i : (first + i) % l.groups;
    const int64_t row = one ? row0 : row0 + row_of_rank((first + i) / l.groups);
    const int64_t k = r * kRecordCols + group * l.group_cols;
    uint32_t value = 0;
    if (!of_zeros) {
      value = group < l.groups ? scale_bits(l, rows, row, k) : 0;
      if (l.scale == kE4M3) value &= 0x7Fu;
    } else if (row < rows.n_rows && k < rows.n_in) {
      value = rows.zeros[row * n_patches(rows.format, rows.n_in) + k / rows.format.patch_cols];
    }
    dword |= value << (i * bits);
  }
  return dword;
}

/// Dword i of the block that holds rows row0 .. row0 + 63 of `rows`; l: layout_of the matrix.
MM2_HD static inline uint32_t pack_dword(const WeightLayout& l, const MatrixRows& rows,
                                         int64_t row0, int64_t i) {
  const int64_t r = i * 4 / l.record_bytes;
  const auto at = static_cast<int32_t>(i * 4 % l.record_bytes);
  if (l.codes == kFloats) {
    const int64_t stride = l.n_records * kRecordCols, row = row0 + i / stride, k = i % stride;
    return row < rows.n_rows && k < rows.n_in ? code_of(rows, row, k) : 0;
  }
  if (at >= l.scales) return pack_dword_of_scales(l, rows, row0, r, at);
  const auto in_tile = static_cast<int32_t>(at % kTileBytes);
  const int32_t thread = in_tile / 16, d = in_tile % 16 / 4;
  const int32_t bits = code_bits(l);
  const int64_t k0 = r * kRecordCols + at / kTileBytes * l.tile_cols;
  uint32_t dword = 0;
  for (int32_t i_code = 0; i_code < 32 / bits; ++i_code) {
    // The low half has the even columns of the registers, the high half the odd ones.
    const int32_t in_half = i_code % (16 / bits), odd = i_code / (16 / bits);
    const int32_t j = l.codes == kNibbles ? in_half : l.codes == kBytes ? d % 2 * 2 + in_half : d;
    const int32_t step = l.codes == kNibbles ? d : l.codes == kBytes ? d / 2 : 0;
    const int64_t row = row0 + fragment_row(thread, j);
    const int64_t k = k0 + step * kStepCols + fragment_col(thread, j) + odd;
    const bool there = row < rows.n_rows && k < rows.n_in;
    const uint32_t code =
        there ? code_of(rows, row, k) ^ turned_sign(l, rows, row, k) : code_of_nothing(rows.format);
    dword |= code << (i_code * bits);
  }
  return dword;
}

/// Dword i of what lies behind the last block.
MM2_HD static inline uint32_t pack_dword_of_order(const MatrixRows& rows, int64_t i) {
  return i < rows.n_in ? static_cast<uint32_t>(rows.order[i]) : 0;
}

/// Backend::pack.
static inline void pack_on_host(const MatrixRows* rows, void* packed) {
  const WeightLayout l = layout_of(rows->format, rows->n_out, rows->n_in);
  char* to = static_cast<char*>(packed) + rows->first_row / kBlockRows * l.block_bytes;
  for (int64_t row = 0; row < rows->n_rows; row += kBlockRows) {
    for (int64_t i = 0; i < l.block_bytes / 4; ++i, to += 4) {
      const uint32_t dword = pack_dword(l, *rows, row, i);
      memcpy(to, &dword, 4);
    }
  }
  if (rows->format.ordered == 0 || rows->first_row != 0) return;
  to = static_cast<char*>(packed) + l.order;
  for (int64_t i = 0; i < (l.bytes - l.order) / 4; ++i, to += 4) {
    const uint32_t dword = pack_dword_of_order(*rows, i);
    memcpy(to, &dword, 4);
  }
}

}  // namespace mm2::kernels::cuda
