#include "quant/dequantize.h"

#include <algorithm>
#include <array>
#include <vector>

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
  const int64_t width = dtype_bits(slice.dtype) / 8, n = n_rows * slice.n_cols;
  std::vector<std::byte> raw(static_cast<size_t>(n * width));
  const uint64_t from = slice.from + static_cast<uint64_t>(first_row * slice.n_cols * width);
  MM2_RETURN_IF_ERROR(source.read(*slice.tensor, from, raw.size(), raw.data()));
  widen_scales(slice.dtype, raw.data(), n, to);
  return {};
}

}  // namespace

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
  const int64_t end = first_row + n_rows;
  for (int64_t row = first_row / kRows * kRows; row < end; row += kRows) {
    const int64_t n = std::min(kRows, m.n_rows - row);
    MM2_ASSIGN_OR_RETURN(const RawParts raw,
                         read_parts(m, source, row, n, false, raw_memory.data()));
    kernels::MatrixRows rows;
    MM2_RETURN_IF_ERROR(decode(m, source, raw, row, n, staged.data(), rows, notes));
    for (int64_t r = std::max(row, first_row); r < std::min(row + n, end); ++r) {
      write_row(m, rows, r - row, raw.global_scale, values, to + (r - first_row) * m.n_cols);
    }
  }
  return {};
}

}  // namespace mm2
