// A quantised matrix on its way from the file to the kernels: first the bytes of all its parts for
// some rows (read_parts), then codes, scales, zeros and column order as kernels take them
// (quant/decode.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/api/types.h"
#include "quant/scheme.h"

namespace mm2 {

/// Which rows of the stored parts a matrix is, and the format in which kernels take it.
struct CodedMatrix {
  WeightDescription description;
  kernels::Format format{};
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t stored_rows = 0;  // of the parts: more where matrices are fused
  int64_t first_row = 0;    // there

  /// Elements of a row that share a scale, counted from 0.
  int64_t n_patches() const;
};

/// Code::unsupported names tensor, scheme and numbers where no kernel can take the matrix; plain
/// ones too.
Result<CodedMatrix> coded_matrix(const WeightPlace& place, const WeightDescription& description,
                                 const TensorSource& source);

/// Code::unsupported as coded_matrix; plain weights are fine.
Status check_executable(const WeightPlace& place, const WeightDescription& description,
                        const TensorSource& source);

/// A rectangle of a part, seen as a matrix of its first and last extent.
struct Window {
  int64_t first_row = 0, n_rows = 0;
  int64_t first_col = 0, n_cols = 0;
};

/// The bytes of all parts that rows [first_row, first_row + n_rows) of the matrix are made of.
struct RawParts {
  int64_t first_row = 0, n_rows = 0;
  std::array<Window, kMaxParts> windows{};          // as Scheme::parts
  std::array<bool, kMaxParts> mapped{};             // used where the file is mapped
  std::array<const std::byte*, kMaxParts> parts{};  // aligned elements, rows without gaps; or null
  const int32_t* order = nullptr;                   // [n_cols] where the matrix is ordered
  float global_scale = 1;
};

/// Bytes that read_parts reads, exactly.
uint64_t read_bytes(const CodedMatrix& m, int64_t first_row, int64_t n_rows);
/// Bytes that it takes for n_rows, whichever rows these are.
uint64_t raw_bytes(const CodedMatrix& m, int64_t n_rows);

/// Reads into `memory`, 64-byte aligned, raw_bytes(n_rows) of it, and checks what concerns all
/// rows: the map of columns to groups, the stored shape, the global scale. Where may_map, parts
/// that are mapped stay where they are.
Result<RawParts> read_parts(const CodedMatrix& m, const TensorSource& source, int64_t first_row,
                            int64_t n_rows, bool may_map, std::byte* memory);

/// Lets go of the mapped parts that read_parts left where they are.
void let_go_of_parts(const CodedMatrix& m, const TensorSource& source, const RawParts& raw);

}  // namespace mm2
