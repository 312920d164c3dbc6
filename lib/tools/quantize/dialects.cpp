// The table of layouts that are written, and the sizes of their tensors.
#include <algorithm>

#include "base/checked.h"
#include "quant/scheme_parts.h"
#include "tools/quantize/pack.h"

namespace mm2 {
namespace {

using enum PartKind;
using enum Written;

constexpr DialectPart kGptq[] = {
    {codes, Dtype::i32}, {scale, Dtype::f16}, {zero, Dtype::i32}, {group_map, Dtype::i32}};
constexpr DialectPart kNoMap[] = {{codes, Dtype::i32}, {scale, Dtype::f16}, {zero, Dtype::i32}};
constexpr DialectPart kPacked[] = {{codes, Dtype::i32},
                                   {scale, Dtype::f32},
                                   {zero, Dtype::i32, asymmetric},
                                   {group_map, Dtype::i32, ordered},
                                   {shape, Dtype::i64}};
constexpr DialectPart kFp8[] = {{codes, Dtype::f8_e4m3}, {scale, Dtype::f32}};
constexpr DialectPart kMxfp8[] = {{codes, Dtype::f8_e4m3}, {scale, Dtype::u8}};
constexpr DialectPart kMxfp4[] = {{codes, Dtype::u8}, {scale, Dtype::u8}};
constexpr DialectPart kNvfp4[] = {{codes, Dtype::u8},
                                  {scale, Dtype::f8_e4m3},
                                  {global_scale, Dtype::f32},
                                  {unused, Dtype::f32, with_input_scale}};

constexpr Dialect kDialects[] = {
    {.name = "gptq",
     .scheme = "gptq",
     .parts = kGptq,
     .stored_zero_minus_one = true,
     .about = "GPTQ v1: codes along the columns, zeros less one, g_idx"},
    {.name = "gptq_v2", .scheme = "gptq_v2", .parts = kGptq, .about = "GPTQ v2: zeros as they are"},
    {.name = "auto_round",
     .scheme = "gptq",
     .parts = kNoMap,
     .stored_zero_minus_one = true,
     .multiple = 32,
     .about = "AutoRound, packing auto_round:auto_gptq: GPTQ v1 without g_idx"},
    {.name = "auto_round_v2",
     .scheme = "gptq_v2",
     .parts = kNoMap,
     .multiple = 32,
     .about = "AutoRound, packing auto_round: GPTQ v2 without g_idx"},
    {.name = "awq", .scheme = "awq", .parts = kNoMap, .about = "AWQ gemm: codes along the rows"},
    {.name = "ct_packed",
     .scheme = "ct_packed",
     .parts = kPacked,
     .open_scale_dtype = true,
     .about = "compressed-tensors pack-quantized"},
    {.name = "nvfp4",
     .scheme = "nvfp4",
     .parts = kNvfp4,
     .scalar_is_rank_0 = true,
     .about = "NVFP4 of ModelOpt"},
    {.name = "ct_nvfp4",
     .scheme = "ct_nvfp4",
     .parts = kNvfp4,
     .about = "compressed-tensors nvfp4-pack-quantized"},
    {.name = "ct_mxfp4",
     .scheme = "ct_mxfp4",
     .parts = kMxfp4,
     .about = "compressed-tensors mxfp4-pack-quantized"},
    {.name = "mxfp8", .scheme = "mxfp8", .parts = kMxfp8, .about = "mxfp8-quantized"},
    {.name = "fp8_block",
     .scheme = "fp8_block",
     .parts = kFp8,
     .about = "FP8 with an F32 scale for 128 x 128 weights, as the vendor writes it"},
    {.name = "fp8_block_ct",
     .scheme = "fp8_block_ct",
     .parts = kFp8,
     .open_scale_dtype = true,
     .about = "the same in compressed-tensors"},
    {.name = "fp8_row",
     .scheme = "fp8_row",
     .parts = kFp8,
     .open_scale_dtype = true,
     .about = "FP8 with a scale for each row"},
    {.name = "fp8_matrix",
     .scheme = "fp8_matrix",
     .parts = kFp8,
     .open_scale_dtype = true,
     .about = "FP8 with one scale"},
};

const Part& part_of(const Scheme& scheme, PartKind kind) {
  return *std::find_if(scheme.parts.begin(), scheme.parts.end(),
                       [&](const Part& part) { return part.kind == kind; });
}

bool is_written(const PackSpec& spec, Written written) {
  switch (written) {
    case always:
      return true;
    case asymmetric:
      return !spec.symmetric;
    case ordered:
      return spec.ordered;
    case with_input_scale:
      return spec.has_input_scale;
  }
  return false;
}

Status divides(const PackSpec& spec, int64_t by, std::string_view what, int64_t n) {
  if (n % by == 0) return {};
  return error(Code::unsupported, spec.dialect->name, " wants ", what, " in multiples of ", by,
               ", the matrix has ", n);
}

// Sizes that words, groups and packers want.
Status check_sizes(const PackSpec& spec) {
  const Scheme& scheme = scheme_of(*spec.dialect);
  MM2_RETURN_IF_ERROR(divides(spec, spec.dialect->multiple, "rows", spec.n_rows));
  MM2_RETURN_IF_ERROR(divides(spec, spec.dialect->multiple, "columns", spec.n_cols));
  if (scheme.granularity == Granularity::group) {
    MM2_RETURN_IF_ERROR(
        divides(spec, std::max<int64_t>(1, spec.patch_cols()), "columns", spec.n_cols));
  }
  const int64_t per_word = 32 / std::max(1, spec.bits);
  if (scheme.packing == Packing::gptq) {
    MM2_RETURN_IF_ERROR(divides(spec, per_word, "rows", spec.n_rows));
    MM2_RETURN_IF_ERROR(divides(spec, per_word, "columns", spec.n_cols));
  }
  if (scheme.packing == Packing::awq) {
    MM2_RETURN_IF_ERROR(divides(spec, per_word, "rows", spec.n_rows));
  }
  return {};
}

Status check_bits(const PackSpec& spec) {
  if (!spec.is_integer()) return {};
  const Packing packing = scheme_of(*spec.dialect).packing;
  const bool fits = packing == Packing::awq ? spec.bits == 4
                    : packing == Packing::dense_words
                        ? spec.bits >= 1 && spec.bits <= 8
                        : spec.bits == 2 || spec.bits == 4 || spec.bits == 8;
  if (fits) return {};
  return error(Code::unsupported, spec.dialect->name, " has no codes of ", spec.bits, " bits");
}

Status check(const PackSpec& spec) {
  if (spec.n_rows < 0 || spec.n_cols < 0 || spec.group < 0 || spec.block_rows < 1 ||
      spec.block_cols < 1) {
    return error(Code::invalid_argument, "a matrix of ", spec.n_rows, " x ", spec.n_cols,
                 " in groups of ", spec.group, " or blocks of ", spec.block_rows, " x ",
                 spec.block_cols, " is none");
  }
  MM2_RETURN_IF_ERROR(check_bits(spec));
  MM2_RETURN_IF_ERROR(check_sizes(spec));
  const bool maps = std::any_of(spec.dialect->parts.begin(), spec.dialect->parts.end(),
                                [](const DialectPart& part) { return part.kind == group_map; });
  if (spec.ordered && !maps) {
    return error(Code::unsupported, spec.dialect->name,
                 " cannot say which column is of which group: columns ordered by activation would "
                 "have to be permuted, and the layer before with them");
  }
  const bool plain = spec.scale_dtype == Dtype::f32 || spec.scale_dtype == Dtype::f16 ||
                     spec.scale_dtype == Dtype::bf16;
  if (spec.dialect->open_scale_dtype && !plain) {
    return error(Code::invalid_argument, "scales of ", dtype_name(spec.scale_dtype),
                 ", must be F32, BF16 or F16");
  }
  return {};
}

}  // namespace

std::span<const Dialect> dialects() {
  return kDialects;
}

const Dialect* find_dialect(std::string_view name) {
  for (const Dialect& dialect : kDialects) {
    if (dialect.name == name) return &dialect;
  }
  return nullptr;
}

Result<const Dialect*> named_dialect(std::string_view name) {
  if (const Dialect* found = find_dialect(name)) return found;
  std::string all;
  for (const Dialect& dialect : kDialects) {
    all += join(all.empty() ? "" : ", ", dialect.name);
  }
  return error(Code::invalid_argument, "there is no layout \"", name, "\", only ", all);
}

const Scheme& scheme_of(const Dialect& dialect) {
  const auto all = schemes();
  return *std::find_if(all.begin(), all.end(),
                       [&](const Scheme& scheme) { return scheme.id == dialect.scheme; });
}

int64_t PackSpec::patch_rows() const {
  switch (scheme_of(*dialect).granularity) {
    case Granularity::matrix:
      return std::max<int64_t>(1, n_rows);
    case Granularity::block:
      return block_rows;
    default:
      return 1;
  }
}

int64_t PackSpec::patch_cols() const {
  const Scheme& scheme = scheme_of(*dialect);
  switch (scheme.granularity) {
    case Granularity::group:
      return scheme.group != 0 ? scheme.group : group != 0 ? group : std::max<int64_t>(1, n_cols);
    case Granularity::block:
      return block_cols;
    default:
      return std::max<int64_t>(1, n_cols);
  }
}

int64_t PackSpec::n_patches() const {
  return ceil_div(n_cols, patch_cols());
}

int64_t row_step(const PackSpec& spec) {
  // 32 rows of any width are whole words, in the parts where rows run along them too.
  constexpr int64_t kStep = 32;
  const int64_t rows = spec.patch_rows();
  return rows == 1 ? kStep : rows;
}

Result<std::vector<PlannedPart>> plan_parts(const PackSpec& spec) {
  MM2_RETURN_IF_ERROR(check(spec));
  const Scheme& scheme = scheme_of(*spec.dialect);
  PartSizes sizes{spec.n_rows, spec.n_cols, spec.bits, spec.patch_cols()};
  sizes.block_rows = spec.block_rows;
  sizes.block_cols = spec.block_cols;
  std::vector<PlannedPart> planned;
  for (const DialectPart& written : spec.dialect->parts) {
    if (!is_written(spec, written.written)) continue;
    const Part& part = part_of(scheme, written.kind);
    const bool open = written.kind == scale && spec.dialect->open_scale_dtype;
    const Dtype dtype = open ? spec.scale_dtype : written.dtype;
    Shape extents = part_shape(part, sizes);
    if (part.any_scalar && spec.dialect->scalar_is_rank_0) extents = Shape{};
    const auto bytes = tensor_bytes(extents, dtype);
    if (!bytes) {
      return error(Code::invalid_argument, "a part of shape ", extents.to_string(),
                   " is too large");
    }
    planned.push_back({written.kind, std::string(part.suffix), dtype, extents, *bytes});
  }
  return planned;
}

}  // namespace mm2
