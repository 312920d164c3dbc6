#include "quant/scheme.h"

#include <algorithm>

#include "quant/scheme_parts.h"

namespace mm2 {
namespace {

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

// All required parts are there with a type that the scheme knows.
bool recognises(const Scheme& scheme, const WeightPlace& place, const TensorSource& source,
                const QuantConfig& config, WeightDescription& description) {
  if (!in_list(scheme.methods, config.method)) return false;
  if (!in_list(scheme.layouts, config.layout)) return false;
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
      if (!in_list(scheme.layouts, config.layout)) continue;
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

}  // namespace

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

const TensorInfo* WeightDescription::part(PartKind kind) const {
  for (size_t i = 0; i < scheme->parts.size(); ++i) {
    if (scheme->parts[i].kind == kind) return parts[i];
  }
  return nullptr;
}

std::string WeightDescription::to_string() const {
  if (scheme == nullptr) return "nothing";
  if (is_plain()) {
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
  const QuantConfig::Said said = config.about(place);
  Status first_wrong;
  for (const Scheme& scheme : schemes()) {
    WeightDescription description;
    if (!recognises(scheme, place, source, config, description)) continue;
    Status status = settle(place, source, said, description);
    if (status.ok()) return description;
    // Schemes that share their suffixes are told apart by shapes; the first is what is most likely
    // meant.
    if (first_wrong.ok()) first_wrong = std::move(status);
  }
  if (!first_wrong.ok()) return first_wrong;
  return unrecognised(place, source, config);
}

Result<PlainSlice> plain_slice(const WeightPlace& place, const WeightDescription& description,
                               const TensorSource& source) {
  const TensorInfo& tensor = description.codes();
  if (!description.is_plain()) {
    return error(Code::unsupported, file_and_name(source, tensor), ": it is ",
                 description.to_string(), ", must be plain here");
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
