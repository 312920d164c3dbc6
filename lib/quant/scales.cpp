#include "quant/scales.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/api/numbers.h"
#include "tensor/convert.h"

namespace mm2 {
namespace {

// The largest size of a code.
float largest_code(const WeightDescription& description) {
  switch (description.scheme->codes) {
    case CodeType::e4m3:
      return 448;
    case CodeType::e2m1:
      return 6;
    default:
      return static_cast<float>(1 << description.bits);
  }
}

int32_t size_bits(float x) {
  return std::bit_cast<int32_t>(x) & INT32_MAX;
}

// The numbers of all codes of one byte.
using Table = std::array<float, 256>;
constexpr Table kE4m3 = [] {
  Table table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = e4m3_to_f32(static_cast<uint8_t>(i));
  return table;
}();
constexpr Table kE8m0 = [] {
  Table table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = e8m0_to_f32(static_cast<uint8_t>(i));
  return table;
}();

template <typename Code, typename F>
void widen(const std::byte* from, int64_t n, float* to, F&& to_f32) {
  for (int64_t i = 0; i < n; ++i) {
    Code code;
    std::memcpy(&code, from + i * static_cast<int64_t>(sizeof code), sizeof code);
    to[i] = to_f32(code);
  }
}

}  // namespace

ScaleRule scale_rule(const WeightDescription& description) {
  const TensorInfo* scales = description.part(PartKind::scale);
  const Dtype dtype = scales == nullptr ? Dtype::f32 : scales->dtype;
  const float most = FLT_MAX / largest_code(description);
  return {.least = description.scheme->codes == CodeType::integer ? -most : 0,
          .most = most,
          .may_vanish = dtype != Dtype::f32 && dtype != Dtype::bf16};
}

ScaleRule global_scale_rule(const WeightDescription& description) {
  const float largest = 448 * largest_code(description);  // of a scale and a code
  if (description.scheme->global_scale_divides)
    return {.least = largest / FLT_MAX, .most = FLT_MAX};
  return {.least = FLT_MIN, .most = FLT_MAX / largest};
}

bool some_vanish(const float* scales, int64_t n) {
  int32_t small = 0;
  for (int64_t i = 0; i < n; ++i) small |= size_bits(scales[i]) < size_bits(FLT_MIN) ? 1 : 0;
  return small != 0;
}

// Sizes compare as their bits do, NaN above all of them; that makes vector code.
bool keep_rule(const ScaleRule& rule, const float* scales, int64_t n) {
  const int32_t most = size_bits(rule.most);
  const int32_t least = rule.least < 0 ? 0 : size_bits(rule.least);
  const int32_t sign = rule.least < 0 ? 0 : -1;
  int32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(scales[i]);
    const int32_t size = bits & INT32_MAX;
    bad |= (size > most ? 1 : 0) | (size < least ? 1 : 0);
    bad |= (bits & sign) < 0 && size != 0 ? 1 : 0;
  }
  return bad == 0;
}

std::string scale_fault(const ScaleRule& rule, float scale) {
  if (keep_rule(rule, &scale, 1)) return {};
  if (std::isnan(scale)) return "is NaN, must be finite";
  if (std::isinf(scale)) return join("is ", scale > 0 ? "" : "-", "infinity, must be finite");
  if (scale < 0 && rule.least >= 0) return join("is ", scale, ", must not be negative");
  if (scale == 0) return "is 0, must be above 0";
  return join("is ", scale, ", must be from ", rule.least, " to ", rule.most,
              " for codes times it to be normal numbers of F32");
}

void widen_scales(Dtype dtype, const std::byte* from, int64_t n, float* to) {
  switch (dtype) {
    case Dtype::bf16:
      return widen<uint16_t>(from, n, to, kernels::bf16_to_f32);
    case Dtype::f16:
      return widen<uint16_t>(from, n, to, kernels::f16_to_f32);
    case Dtype::f8_e4m3:
      return widen<uint8_t>(from, n, to, [](uint8_t code) { return kE4m3[code]; });
    case Dtype::f8_e8m0:
    case Dtype::u8:
      return widen<uint8_t>(from, n, to, [](uint8_t code) { return kE8m0[code]; });
    default:
      std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  }
}

Status scale_error(const TensorSource& source, const TensorInfo& scales, int64_t i,
                   const std::string& fault) {
  const int64_t n_cols = std::max<int64_t>(1, scales.shape.n_cols());
  return error(Code::format, file_and_name(source, scales), ": the scale at [", i / n_cols, ", ",
               i % n_cols, "] ", fault);
}

Status check_scales(const WeightDescription& description, const TensorSource& source) {
  constexpr uint64_t kChunk = 1 << 14;  // elements
  const Scheme& scheme = *description.scheme;
  std::vector<std::byte> raw;
  std::vector<float> scales;
  for (size_t part = 0; part < scheme.parts.size(); ++part) {
    const PartKind kind = scheme.parts[part].kind;
    const TensorInfo* tensor = description.parts[part];
    if (tensor == nullptr) continue;
    if (kind != PartKind::scale && kind != PartKind::global_scale) continue;
    const ScaleRule rule =
        kind == PartKind::scale ? scale_rule(description) : global_scale_rule(description);
    const auto width = static_cast<uint64_t>(dtype_bits(tensor->dtype)) / 8;
    const uint64_t n_all = tensor->bytes / width;
    for (uint64_t from = 0; from < n_all; from += kChunk) {
      const uint64_t n = std::min(kChunk, n_all - from);
      raw.resize(n * width);
      scales.resize(n);
      MM2_RETURN_IF_ERROR(source.read(*tensor, from * width, raw.size(), raw.data()));
      const auto count = static_cast<int64_t>(n);
      widen_scales(tensor->dtype, raw.data(), count, scales.data());
      if (keep_rule(rule, scales.data(), count)) continue;
      size_t at = 0;
      while (keep_rule(rule, &scales[at], 1)) ++at;
      return scale_error(source, *tensor, static_cast<int64_t>(from + at),
                         scale_fault(rule, scales[at]));
    }
  }
  return {};
}

}  // namespace mm2
