// One number out of memory, and into it, whatever its format.
#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/types.h"

namespace mm2::kernels::ref {

template <typename Real>
inline Real load(const void* base, int32_t number, int64_t i) {
  const char* at = static_cast<const char*>(base) + i * bytes_of(number);
  if (number == kF64) {
    double x;
    memcpy(&x, at, 8);
    return static_cast<Real>(x);
  }
  if (number == kF32) {
    float x;
    memcpy(&x, at, 4);
    return Real{x};
  }
  if (number == kE4M3) return Real{e4m3_to_f32(static_cast<uint8_t>(*at))};
  uint16_t code;
  memcpy(&code, at, 2);
  return Real{number == kBF16 ? bf16_to_f32(code) : f16_to_f32(code)};
}

/// Into kF64, kF32, kBF16 or kE4M3, to nearest even.
template <typename Real>
inline void store(void* base, int32_t number, int64_t i, Real value) {
  char* at = static_cast<char*>(base) + i * bytes_of(number);
  const double wide = double{value};
  const float single = static_cast<float>(value);
  const uint16_t code = f32_to_bf16(single);
  if (number == kF64) memcpy(at, &wide, 8);
  if (number == kF32) memcpy(at, &single, 4);
  if (number == kBF16) memcpy(at, &code, 2);
  if (number == kE4M3) *at = static_cast<char>(f32_to_e4m3(single));
}

/// Calls f with a function k -> w[row, k] as Real, fitting the format of w; kPlain.
template <typename Real, typename F>
inline auto with_row(const Matrix& w, int64_t row, F&& f) {
  const int32_t number = w.format.number;
  const char* codes = static_cast<const char*>(w.data) + row * w.n_in * bytes_of(number);
  if (number == kF32) return f([=](int64_t k) { return load<Real>(codes, kF32, k); });
  if (number == kBF16) return f([=](int64_t k) { return load<Real>(codes, kBF16, k); });
  return f([=](int64_t k) { return load<Real>(codes, kF16, k); });
}

}  // namespace mm2::kernels::ref
