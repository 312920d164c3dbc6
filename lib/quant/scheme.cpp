#include "quant/scheme.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "tensor/convert.h"

namespace mm2 {
namespace {

constexpr int kWordBits = 32;

// Whether `word` is one of the words of a list separated by spaces; an empty list holds every word.
bool in_list(std::string_view list, std::string_view word) {
  if (list.empty()) return true;
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    if (list.substr(0, end) == word) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

bool holds(uint32_t dtypes, Dtype dtype) {
  return (dtypes >> static_cast<int>(dtype)) & 1u;
}

std::string dtype_list(uint32_t dtypes) {
  std::string list;
  for (int i = 0; i < kDtypes; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    if (holds(dtypes, dtype)) list += join(list.empty() ? "" : " or ", dtype_name(dtype));
  }
  return list;
}

const TensorInfo* find_part(const WeightPlace& place, const TensorSource& source,
                            const Part& part) {
  if (part.kind == PartKind::codes && place.bare) return source.find(place.stem);
  return source.find(join(place.stem, part.suffix));
}

std::string file_and_name(const TensorSource& source, const TensorInfo& tensor) {
  return join(source.file_of(tensor), ": tensor ", tensor.name);
}

// Sizes that the extents of parts are computed from.
struct Sizes {
  int64_t rows, cols;
  int64_t bits = 4;
  int64_t group = 1;
  int64_t block_rows = 1, block_cols = 1;

  int64_t of(Extent extent) const {
    switch (extent) {
      case Extent::one:
        return 1;
      case Extent::two:
        return 2;
      case Extent::rows:
        return rows;
      case Extent::cols:
        return cols;
      case Extent::rows_by_word:
        return ceil_div(rows * bits, int64_t{kWordBits});
      case Extent::cols_by_word:
      case Extent::cols_as_words:
        return ceil_div(cols * bits, int64_t{kWordBits});
      case Extent::cols_by_two:
        return ceil_div(cols, int64_t{2});
      case Extent::cols_by_group:
        return ceil_div(cols, group);
      case Extent::rows_by_block:
        return ceil_div(rows, block_rows);
      case Extent::cols_by_block:
        return ceil_div(cols, block_cols);
    }
    return 0;
  }

  Shape shape_of(const Part& part) const {
    if (part.rank == 1) return {of(part.extents[0])};
    return {of(part.extents[0]), of(part.extents[1])};
  }
};

// Where the configuration is silent, the width of codes and groups is read off the tensors; wrong
// shapes then fail in check_parts.
Sizes sizes_of(const WeightPlace& place, const QuantConfig& config,
               const WeightDescription& description) {
  const Scheme& scheme = *description.scheme;
  Sizes sizes{place.stored.n_rows(), place.stored.n_cols()};
  sizes.block_rows = config.block_rows;
  sizes.block_cols = config.block_cols;
  if (scheme.codes == CodeType::integer) {
    sizes.bits = config.bits != 0 ? config.bits : 4;
    const Shape& stored = description.codes().shape;
    if (scheme.packing == Packing::dense_words && config.bits == 0 && stored.rank() == 2 &&
        sizes.cols > 0 && stored[1] <= sizes.cols) {
      sizes.bits = std::clamp<int64_t>(stored[1] * kWordBits / sizes.cols, 1, 8);
    }
  }
  sizes.group = std::max<int64_t>(1, sizes.cols);
  if (scheme.group != 0) {
    sizes.group = scheme.group;
  } else if (config.group_size > 0) {
    sizes.group = config.group_size;
  } else if (config.group_size == 0) {
    for (size_t i = 0; i < scheme.parts.size(); ++i) {
      const TensorInfo* tensor = description.parts[i];
      if (scheme.parts[i].kind != PartKind::scale || tensor == nullptr) continue;
      for (int axis = 0; axis < std::min(tensor->shape.rank(), 2); ++axis) {
        const int64_t n = tensor->shape[axis];
        if (scheme.parts[i].extents[static_cast<size_t>(axis)] != Extent::cols_by_group) continue;
        if (n > 0 && sizes.cols % n == 0) sizes.group = sizes.cols / n;
      }
    }
  }
  return sizes;
}

// All required parts are there with a type that the scheme knows.
bool recognises(const Scheme& scheme, const WeightPlace& place, const TensorSource& source,
                const QuantConfig& config, WeightDescription& description) {
  if (!in_list(scheme.methods, config.method)) return false;
  if (!in_list(scheme.formats, config.checkpoint_format)) return false;
  if (place.bare && scheme.codes != CodeType::plain) return false;
  description = WeightDescription{};
  description.scheme = &scheme;
  for (size_t i = 0; i < scheme.parts.size(); ++i) {
    const Part& part = scheme.parts[i];
    const TensorInfo* tensor = find_part(place, source, part);
    const bool fits = tensor != nullptr && holds(part.dtypes, tensor->dtype);
    if (!fits && part.required) return false;
    description.parts[i] = fits ? tensor : nullptr;
  }
  return true;
}

// Where a block is larger than the matrix, as the patch that shares a scale.
void set_patch(const Sizes& sizes, WeightDescription& description) {
  switch (description.scheme->granularity) {
    case Granularity::none:
      break;
    case Granularity::matrix:
      description.scale_rows = sizes.rows;
      description.scale_cols = sizes.cols;
      break;
    case Granularity::row:
      description.scale_rows = 1;
      description.scale_cols = sizes.cols;
      break;
    case Granularity::group:
      description.scale_rows = 1;
      description.scale_cols = sizes.group;
      break;
    case Granularity::block:
      description.scale_rows = sizes.block_rows;
      description.scale_cols = sizes.block_cols;
      break;
  }
}

int code_bits(const Scheme& scheme, const Sizes& sizes, Dtype dtype) {
  switch (scheme.codes) {
    case CodeType::plain:
      return dtype_bits(dtype);
    case CodeType::e4m3:
      return 8;
    case CodeType::e2m1:
      return 4;
    case CodeType::integer:
      return static_cast<int>(sizes.bits);
  }
  return 0;
}

Status check_parts(const WeightPlace& place, const TensorSource& source, const QuantConfig& config,
                   WeightDescription& description) {
  const Scheme& scheme = *description.scheme;
  const Sizes sizes = sizes_of(place, config, description);
  description.bits = code_bits(scheme, sizes, description.dtype());
  set_patch(sizes, description);
  const bool in_words = scheme.packing == Packing::gptq || scheme.packing == Packing::awq;
  if (in_words && kWordBits % sizes.bits != 0) {
    return error(Code::unsupported, file_and_name(source, description.codes()), ": ", scheme.title,
                 " with ", sizes.bits, " bits is not supported");
  }
  for (size_t i = 0; i < scheme.parts.size(); ++i) {
    const TensorInfo* tensor = description.parts[i];
    const Part& part = scheme.parts[i];
    if (tensor == nullptr) continue;
    const bool plain = scheme.codes == CodeType::plain;
    const Shape wanted = plain ? place.stored : sizes.shape_of(part);
    const bool scalar = part.any_scalar && tensor->shape.rank() == 0;
    if (tensor->shape == wanted || scalar) continue;
    return error(Code::format, file_and_name(source, *tensor), ": shape is ",
                 tensor->shape.to_string(), ", must be ", wanted.to_string(),
                 plain ? std::string() : join(" (", description.to_string(), ")"));
  }
  return {};
}

// No scheme fits: say what is there.
Status unrecognised(const WeightPlace& place, const TensorSource& source,
                    const QuantConfig& config) {
  const std::string by = config.method.empty()
                             ? std::string("a checkpoint without quantization_config")
                             : join("quant_method ", config.method);
  for (const Scheme& scheme : schemes()) {
    const TensorInfo* tensor = find_part(place, source, scheme.parts[0]);
    if (tensor == nullptr) continue;
    if (place.bare || !holds(scheme.parts[0].dtypes, tensor->dtype)) continue;
    for (const Part& part : scheme.parts) {
      if (!part.required || !in_list(scheme.methods, config.method)) continue;
      if (find_part(place, source, part) != nullptr) continue;
      return error(Code::format, file_and_name(source, *tensor), ": it is ",
                   dtype_name(tensor->dtype), " (", scheme.title, "), but ", place.stem,
                   part.suffix, " is missing");
    }
  }
  for (const Scheme& scheme : schemes()) {
    const TensorInfo* tensor = find_part(place, source, scheme.parts[0]);
    if (tensor == nullptr) continue;
    return error(Code::format, file_and_name(source, *tensor), ": dtype is ",
                 dtype_name(tensor->dtype), ", must be ", dtype_list(schemes()[0].parts[0].dtypes),
                 " or the codes of a known quantisation (", by, ")");
  }
  return error(Code::not_found, "tensor ", place.name, " is missing");
}

bool is_finite_code(Dtype dtype, const std::byte* at, float& value) {
  uint16_t half = 0;
  const auto byte = static_cast<uint8_t>(*at);
  switch (dtype) {
    case Dtype::f32:
      std::memcpy(&value, at, sizeof value);
      break;
    case Dtype::bf16:
      std::memcpy(&half, at, sizeof half);
      value = bf16_to_f32(half);
      break;
    case Dtype::f16:
      std::memcpy(&half, at, sizeof half);
      value = f16_to_f32(half);
      break;
    case Dtype::f8_e4m3:
      value = e4m3_to_f32(byte);
      break;
    case Dtype::f8_e8m0:
    case Dtype::u8:
      value = e8m0_to_f32(byte);
      break;
    default:
      value = 0;
  }
  return std::isfinite(value);
}

Status check_finite(const TensorInfo& tensor, const TensorSource& source) {
  constexpr size_t kChunk = 1 << 16;
  const size_t width = static_cast<size_t>(dtype_bits(tensor.dtype)) / 8;
  std::vector<std::byte> chunk(std::min<uint64_t>(kChunk, tensor.bytes));
  for (uint64_t from = 0; from < tensor.bytes; from += chunk.size()) {
    const size_t n = std::min<uint64_t>(chunk.size(), tensor.bytes - from);
    MM2_RETURN_IF_ERROR(source.read(tensor, from, n, chunk.data()));
    for (size_t at = 0; at < n; at += width) {
      float value = 0;
      if (is_finite_code(tensor.dtype, chunk.data() + at, value)) continue;
      const uint64_t element = (from + at) / width;
      const auto n_cols = static_cast<uint64_t>(tensor.shape.n_cols());
      return error(Code::format, file_and_name(source, tensor), ": the scale at [",
                   element / n_cols, ", ", element % n_cols, "] is ",
                   std::isnan(value) ? "NaN" : (value > 0 ? "infinity" : "-infinity"),
                   ", must be finite");
    }
  }
  return {};
}

}  // namespace

std::string WeightDescription::to_string() const {
  if (scheme == nullptr) return "nothing";
  if (scheme->codes == CodeType::plain) {
    return dtype() == Dtype::f32 ? "f32" : dtype() == Dtype::f16 ? "f16" : "bf16";
  }
  std::string text(scheme->title);
  if (scheme->codes == CodeType::integer) text += join(" ", bits, " bit");
  if (scheme->granularity == Granularity::block) text += join(" ", scale_rows, "x", scale_cols);
  if (scheme->granularity == Granularity::group) text += join(" group ", scale_cols);
  return text;
}

Result<WeightDescription> describe_weight(const WeightPlace& place, const TensorSource& source,
                                          const QuantConfig& config) {
  if (!place.found) return error(Code::not_found, "tensor ", place.name, " is missing");
  Status first_wrong;
  for (const Scheme& scheme : schemes()) {
    WeightDescription description;
    if (!recognises(scheme, place, source, config, description)) continue;
    Status status = check_parts(place, source, config, description);
    if (status.ok()) return description;
    // Schemes that share their suffixes are told apart by shapes; the first is what is most likely
    // meant.
    if (first_wrong.ok()) first_wrong = std::move(status);
  }
  if (!first_wrong.ok()) return first_wrong;
  return unrecognised(place, source, config);
}

Status check_scales(const WeightDescription& description, const TensorSource& source) {
  const Scheme& scheme = *description.scheme;
  for (size_t i = 0; i < scheme.parts.size(); ++i) {
    const PartKind kind = scheme.parts[i].kind;
    if (description.parts[i] == nullptr) continue;
    if (kind != PartKind::scale && kind != PartKind::global_scale) continue;
    MM2_RETURN_IF_ERROR(check_finite(*description.parts[i], source));
  }
  return {};
}

Result<PlainSlice> plain_slice(const WeightPlace& place, const WeightDescription& description,
                               const TensorSource& source) {
  const TensorInfo& tensor = description.codes();
  if (description.scheme->codes != CodeType::plain) {
    return error(Code::unsupported, file_and_name(source, tensor), ": ", description.to_string(),
                 " is not implemented yet");
  }
  PlainSlice slice;
  slice.tensor = &tensor;
  slice.dtype = tensor.dtype;
  slice.n_rows = place.n_rows();
  slice.n_cols = place.n_cols();
  const auto row_bytes =
      static_cast<uint64_t>(slice.n_cols) * static_cast<uint64_t>(dtype_bits(tensor.dtype)) / 8;
  slice.from = static_cast<uint64_t>(place.first_row) * row_bytes;
  slice.bytes = static_cast<uint64_t>(slice.n_rows) * row_bytes;
  return slice;
}

}  // namespace mm2
