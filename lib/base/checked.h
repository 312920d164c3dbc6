// Arithmetic on sizes that come from outside: never wraps, says when it would.
#pragma once

#include <concepts>
#include <optional>

namespace mm2 {

template <std::integral T>
[[nodiscard]] std::optional<T> checked_add(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::integral T>
[[nodiscard]] std::optional<T> checked_mul(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Smallest multiple of `step` that is not below `value`; both are small and not negative.
template <std::integral T>
constexpr T round_up(T value, T step) {
  return (value + step - 1) / step * step;
}

template <std::integral T>
constexpr T ceil_div(T value, T step) {
  return (value + step - 1) / step;
}

}  // namespace mm2
