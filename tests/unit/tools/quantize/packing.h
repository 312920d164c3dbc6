// Packed tensors for tests: from codes and back through the readers of lib/quant.
#pragma once

#include "quant/dequantize.h"
#include "tools/quantize/repack.h"
#include "unit/quant/memory.h"
#include "unit/tools/quantize/tool_data.h"

namespace support {

struct Packed {
  std::vector<mm2::PlannedPart> parts;
  std::vector<std::vector<std::byte>> bytes;

  const std::vector<std::byte>& at(const std::string& suffix) const {
    size_t i = 0;
    while (i < parts.size() && parts[i].suffix != suffix) ++i;
    INFO(suffix);
    REQUIRE(i < parts.size());
    return bytes[i];
  }
  bool has(const std::string& suffix) const {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const auto& part) { return part.suffix == suffix; });
  }
  template <typename T>
  std::vector<T> as(const std::string& suffix) const {
    const auto& raw = at(suffix);
    std::vector<T> values(raw.size() / sizeof(T));
    std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }
  std::vector<mm2::StoredPart> stored() const {
    std::vector<mm2::StoredPart> all;
    for (size_t i = 0; i < parts.size(); ++i) {
      all.push_back({parts[i].kind, parts[i].dtype, bytes[i].data()});
    }
    return all;
  }
  /// As tensors q.SUFFIX.
  Memory memory() const {
    Memory source;
    for (size_t i = 0; i < parts.size(); ++i) {
      source.add("q" + parts[i].suffix, parts[i].dtype, parts[i].shape, bytes[i]);
    }
    return source;
  }
};

/// Rows [first, first + n) of codes of a whole matrix.
inline mm2::CodedRows some_rows(const mm2::PackSpec& spec, const mm2::CodedWhole& whole,
                                int64_t first, int64_t n) {
  mm2::CodedRows rows = whole.rows(n);
  const int64_t patch = first / spec.patch_rows() * spec.n_patches();
  rows.first_row = first;
  rows.codes += first * spec.n_cols;
  if (rows.scales != nullptr) rows.scales += patch;
  if (rows.scale_codes != nullptr) rows.scale_codes += patch;
  if (rows.zeros != nullptr) rows.zeros += patch;
  return rows;
}

/// In steps of row_step, or all at once.
inline Packed packed(const mm2::PackSpec& spec, const mm2::CodedWhole& whole,
                     bool in_steps = true) {
  auto planned = mm2::plan_parts(spec);
  INFO(planned.status().message());
  REQUIRE(planned.ok());
  Packed result{*planned, {}};
  std::vector<std::byte*> memory;
  for (const mm2::PlannedPart& part : result.parts) {
    result.bytes.emplace_back(part.bytes, std::byte{0xEE});
  }
  for (auto& bytes : result.bytes) memory.push_back(bytes.data());
  const int64_t step = in_steps ? mm2::row_step(spec) : spec.n_rows;
  for (int64_t r = 0; r < spec.n_rows; r += step) {
    const auto rows = some_rows(spec, whole, r, std::min(step, spec.n_rows - r));
    const mm2::Status status = mm2::pack_rows(spec, result.parts, rows, memory);
    INFO(status.message());
    REQUIRE(status.ok());
  }
  return result;
}

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// The configuration that goes with a layout.
inline mm2::QuantConfig config_of(const mm2::PackSpec& spec) {
  const std::string_view name = spec.dialect->name;
  const std::string_view layout = mm2::scheme_of(*spec.dialect).id;
  mm2::QuantConfig config = method("", 0);
  if (name.starts_with("gptq")) config = method("gptq", 0, std::string(layout));
  if (name.starts_with("auto_round")) config = method("auto-round", 0, std::string(layout));
  if (name == "awq") config = method("awq", 0, "awq");
  if (name.starts_with("ct_") || name.ends_with("_ct")) config = method("compressed-tensors");
  if (name == "nvfp4") config = method("modelopt");
  if (spec.is_integer()) {
    config.words.bits = spec.bits;
    config.words.symmetric = spec.symmetric;
    config.words.desc_act = spec.ordered;
    config.words.group_size = static_cast<int32_t>(spec.patch_cols());
  }
  return config;
}

/// What readers make of it.
inline std::vector<float> read_back(const mm2::PackSpec& spec, const Packed& packed) {
  const mm2::QuantConfig config = config_of(spec);
  const Memory source = packed.memory();
  const mm2::WeightPlace place = place_of(spec.n_rows, spec.n_cols);
  const auto description = mm2::describe_weight(place, source, config);
  INFO(description.status().message());
  REQUIRE(description.ok());
  CHECK(description->scheme->id == mm2::scheme_of(*spec.dialect).id);
  std::vector<float> numbers(static_cast<size_t>(spec.n_rows * spec.n_cols));
  const mm2::Status status =
      mm2::dequantize_rows(place, *description, source, 0, spec.n_rows, numbers.data());
  INFO(status.message());
  REQUIRE(status.ok());
  return numbers;
}

inline mm2::PackSpec spec_of(const std::string& dialect, int64_t n_rows, int64_t n_cols,
                             int64_t group = 128, bool symmetric = true) {
  const mm2::Dialect* found = mm2::find_dialect(dialect);
  REQUIRE(found != nullptr);
  mm2::PackSpec spec{.dialect = found, .n_rows = n_rows, .n_cols = n_cols};
  spec.group = group;
  spec.symmetric = symmetric;
  return spec;
}

}  // namespace support
