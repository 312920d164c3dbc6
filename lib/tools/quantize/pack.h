// Codes, scales and zeros into the tensors of a layout on disk. Which tensors these are, with suffix,
// type and shape, is data: the rows of quant/scheme.h (where a reader finds them) and the table of
// dialects here (what a writer makes of them).
//
//   PackSpec spec{find_dialect("gptq"), n_rows, n_cols};
//   auto parts = plan_parts(spec);               // suffixes, types, shapes, bytes: nothing computed
//   for rows in steps of row_step(spec): pack_rows(spec, *parts, coded, memory)
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "quant/scheme.h"
#include "tensor/shape.h"

namespace mm2 {

/// When a part is written.
enum class Written : uint8_t { always, asymmetric, ordered, with_input_scale };

struct DialectPart {
  PartKind kind;
  Dtype dtype;  // of scales: the one to write unless the dialect leaves it open
  Written written = Written::always;
};

/// One layout as a writer sees it.
struct Dialect {
  std::string_view name;    // "gptq"; what users say
  std::string_view scheme;  // the row of quant/scheme.h that reads it
  std::span<const DialectPart> parts;
  bool open_scale_dtype = false;  // scales may be F32, BF16 or F16
  bool scalar_is_rank_0 = false;  // [] where others write [1]
  bool stored_zero_minus_one = false;
  int32_t multiple = 1;  // rows and columns must be multiples of it, as its packer wants
  std::string_view about;
};

/// All of them.
std::span<const Dialect> dialects();
/// Null when there is none of that name.
const Dialect* find_dialect(std::string_view name);
/// Code::invalid_argument with all names.
Result<const Dialect*> named_dialect(std::string_view name);
/// The row of quant/scheme.h.
const Scheme& scheme_of(const Dialect& dialect);

/// One matrix in a dialect.
struct PackSpec {
  const Dialect* dialect = nullptr;
  int64_t n_rows = 0, n_cols = 0;
  int32_t bits = 4;                            // of integers
  int64_t group = 128;                         // of integers; 0: a whole row
  int64_t block_rows = 128, block_cols = 128;  // of FP8 blocks
  bool symmetric = true;
  bool ordered = false;            // a map says which column is of which group
  bool has_input_scale = false;    // of activations, beside NVFP4
  Dtype scale_dtype = Dtype::f32;  // where the dialect leaves it open

  /// Columns and rows that share a scale.
  int64_t patch_rows() const;
  int64_t patch_cols() const;
  int64_t n_patches() const;  // of a row
  bool is_integer() const { return scheme_of(*dialect).codes == CodeType::integer; }
};

struct PlannedPart {
  PartKind kind;
  std::string suffix;  // tensor = stem + suffix
  Dtype dtype;
  Shape shape;
  uint64_t bytes;
};

/// The tensors of the matrix in the order of the dialect, at most kMaxParts; Code::unsupported says why
/// sizes, bits or groups cannot be written in it.
Result<std::vector<PlannedPart>> plan_parts(const PackSpec& spec);

/// Codes, scales and zeros of some rows, one byte or float each; quantize.h says what codes are.
struct CodedRows {
  int64_t first_row = 0, n_rows = 0;
  const uint8_t* codes = nullptr;        // [n_rows, n_cols]
  const float* scales = nullptr;         // [n_rows / patch_rows, n_patches]
  const uint8_t* scale_codes = nullptr;  // the same as E4M3 or E8M0: NVFP4 and MX have these
  const uint8_t* zeros = nullptr;        // [n_rows, n_patches]; null: the middle
  const int32_t* group_map = nullptr;    // [n_cols], where ordered
  float global = 1;                      // NVFP4
  float input_scale = 1;                 // beside NVFP4, as its dialect has it
};

/// A whole matrix of them.
struct CodedWhole {
  std::vector<uint8_t> codes, scale_codes, zeros;
  std::vector<float> scales;
  std::vector<int32_t> group_map;
  float global = 1;
  float input_scale = 1;

  /// All rows; n_rows as the matrix has it.
  CodedRows rows(int64_t n_rows) const;
};

/// Rows go to pack_rows in steps of this many, so that no word is shared; the last step may be
/// shorter.
int64_t row_step(const PackSpec& spec);

/// Writes what belongs to the rows into the parts, `memory[i]` holding the whole of parts[i]. Parts
/// that are of no row (maps, shapes, global scales) are written with row 0. Code::numeric names the
/// row and group of a scale that the type of scales cannot hold. Several threads may pack different
/// steps of one matrix.
Status pack_rows(const PackSpec& spec, std::span<const PlannedPart> parts, const CodedRows& rows,
                 std::span<std::byte* const> memory);

/// number = what the layout means by it, in F32, in the order of operations of quant/dequantize.h.
/// `to`: [n_rows, n_cols].
void dequantize_coded(const PackSpec& spec, const CodedRows& rows, float* to);

}  // namespace mm2
