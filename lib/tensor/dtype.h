// Types of tensor elements: every one that a safetensors header may name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mm2 {

enum class Dtype : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,  // "FN": bias 7, no infinities, 0x7F and 0xFF are NaN
  f8_e5m2,
  f8_e8m0,  // 2^(code - 127), 0xFF is NaN
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4,  // E2M1, two to a byte
  c64,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
};
constexpr int kDtypes = static_cast<int>(Dtype::boolean) + 1;

/// The name as safetensors spells it: "BF16", "F8_E4M3".
std::string_view dtype_name(Dtype dtype);

/// The type of that exact spelling (upper case), if there is one.
std::optional<Dtype> dtype_from_name(std::string_view name);

/// Bits per element: 4, 6, 8, 16, 32 or 64.
int dtype_bits(Dtype dtype);

/// F32, F16 or BF16: what a plain weight may be stored as.
constexpr bool is_plain_float(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16;
}

}  // namespace mm2
