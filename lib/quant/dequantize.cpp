#include "quant/dequantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "base/vector_code.h"
#include "kernels/api/format.h"
#include "quant/decode.h"
#include "quant/scales.h"
#include "tensor/buffer.h"

namespace mm2 {
namespace {

constexpr int64_t kRows = 64;  // decoded at a time; decode wants to begin at multiples of 8

// What each code stands for, before zero and scale.
std::array<float, 256> values_of(const CodedMatrix& m) {
  std::array<float, 256> values{};
  const float middle = m.format.zeros != 0 ? 0.0f : static_cast<float>(1 << (m.format.bits - 1));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto code = static_cast<uint8_t>(i);
    switch (m.format.scheme) {
      case kernels::kFp8:
        values[i] = kernels::e4m3_to_f32(code);
        break;
      case kernels::kFp4:
        values[i] = kernels::e2m1_to_f32(code);
        break;
      default:
        values[i] = static_cast<float>(i) - middle;
    }
  }
  return values;
}

// A row of codes of E4M3, none of them NaN, times the scales of its patches. Codes below 2^-6 are
// what lies above a power of two: 2^-6 * (1 + code / 8) - 2^-6.
inline __attribute__((always_inline)) void e4m3_loop(const uint8_t* __restrict codes,
                                                     const float* __restrict scales,
                                                     int64_t patch_cols, int64_t n_cols,
                                                     float* __restrict to) {
  constexpr uint32_t kBelow = 8, kNormal = 120u << 23, kSmall = 121u << 23;
  for (int64_t first = 0; first < n_cols; first += patch_cols, ++scales) {
    const float scale = *scales;
    const int64_t end = std::min(first + patch_cols, n_cols);
    for (int64_t k = first; k < end; ++k) {
      const uint32_t size = codes[k] & 0x7fu;
      const uint32_t sign = uint32_t{codes[k] & 0x80u} << 24;
      const uint32_t normal = (size << 20) + kNormal;
      const float small = std::bit_cast<float>((size << 20) + kSmall) - 0x1p-6f;
      const uint32_t below = 0u - static_cast<uint32_t>(size < kBelow);  // a mask, not a branch
      const uint32_t bits = (std::bit_cast<uint32_t>(small) & below) | (normal & ~below);
      to[k] = std::bit_cast<float>(bits | sign) * scale;
    }
  }
}

// One decoded row.
void write_row(const CodedMatrix& m, const kernels::MatrixRows& rows, int64_t row, float global,
               const std::array<float, 256>& values, float* to) {
  const auto* codes = static_cast<const uint8_t*>(rows.codes) + row * m.n_cols;
  const int64_t patches = m.n_patches();
  const bool divides = m.description.scheme->global_scale_divides;
  for (int64_t patch = 0; patch < patches; ++patch) {
    const int64_t at = row * patches + patch;
    const float scale = divides ? rows.scales[at] / global : rows.scales[at] * global;
    const float zero = rows.zeros == nullptr ? 0.0f : static_cast<float>(rows.zeros[at]);
    const int64_t end = std::min((patch + 1) * m.format.patch_cols, m.n_cols);
    for (int64_t k = patch * m.format.patch_cols; k < end; ++k) {
      const float number = (values[codes[k]] - zero) * scale;
      to[rows.order == nullptr ? k : int64_t{rows.order[k]}] = number;
    }
  }
}

Status plain_rows(const WeightPlace& place, const WeightDescription& description,
                  const TensorSource& source, int64_t first_row, int64_t n_rows, float* to) {
  MM2_ASSIGN_OR_RETURN(const PlainSlice slice, plain_slice(place, description, source));
  constexpr uint64_t kChunk = 128 << 10;  // bytes; widened while they are in the core's cache
  const auto width = static_cast<uint64_t>(dtype_bits(slice.dtype)) / 8;
  const auto row_bytes = static_cast<uint64_t>(slice.n_cols) * width;
  const uint64_t end = slice.from + static_cast<uint64_t>(first_row + n_rows) * row_bytes;
  uint64_t at = slice.from + static_cast<uint64_t>(first_row) * row_bytes;
  std::vector<std::byte> raw(static_cast<size_t>(std::min(kChunk, end - at)));
  while (at < end) {
    const auto n = static_cast<size_t>(std::min(kChunk, end - at));
    MM2_RETURN_IF_ERROR(source.read(*slice.tensor, at, n, raw.data()));
    widen_scales(slice.dtype, raw.data(), static_cast<int64_t>(n / width), to);
    to += n / width;
    at += n;
  }
  return {};
}

}  // namespace

void dequantize_e4m3_row(const uint8_t* codes, const float* scales, int64_t patch_cols,
                         int64_t n_cols, float* to) {
  VectorCode<e4m3_loop>::run(codes, scales, patch_cols, n_cols, to);
}

Status dequantize_rows(const WeightPlace& place, const WeightDescription& description,
                       const TensorSource& source, int64_t first_row, int64_t n_rows, float* to) {
  if (description.is_plain()) {
    return plain_rows(place, description, source, first_row, n_rows, to);
  }
  MM2_ASSIGN_OR_RETURN(const CodedMatrix m, coded_matrix(place, description, source));
  MM2_ASSIGN_OR_RETURN(Buffer raw_memory, Buffer::make(default_allocator(), raw_bytes(m, kRows)));
  MM2_ASSIGN_OR_RETURN(Buffer staged, Buffer::make(default_allocator(), staged_bytes(m, kRows)));
  const std::array<float, 256> values = values_of(m);
  DecodeNotes notes;
  const bool plain_e4m3 = m.format.scheme == kernels::kFp8 && m.format.zeros == 0;
  const int64_t end = first_row + n_rows;
  for (int64_t row = first_row / kRows * kRows; row < end; row += kRows) {
    const int64_t n = std::min(kRows, m.n_rows - row);
    MM2_ASSIGN_OR_RETURN(const RawParts raw,
                         read_parts(m, source, row, n, false, raw_memory.data()));
    kernels::MatrixRows rows;
    MM2_RETURN_IF_ERROR(decode(m, source, raw, row, n, staged.data(), rows, notes));
    for (int64_t r = std::max(row, first_row); r < std::min(row + n, end); ++r) {
      float* const row_to = to + (r - first_row) * m.n_cols;
      if (plain_e4m3 && rows.order == nullptr && raw.global_scale == 1) {
        dequantize_e4m3_row(static_cast<const uint8_t*>(rows.codes) + (r - row) * m.n_cols,
                            rows.scales + (r - row) * m.n_patches(), m.format.patch_cols, m.n_cols,
                            row_to);
      } else {
        write_row(m, rows, r - row, raw.global_scale, values, row_to);
      }
    }
  }
  return {};
}

}  // namespace mm2
