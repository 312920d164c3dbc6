// Four floats at a time, for sums that must stay in registers: the compiler keeps arrays of partial sums
// in memory.
#pragma once

#include <cstdint>
#include <cstring>

#include "tools/quantize/encode.h"

namespace mm2::coding {

constexpr int kLanes = 4;
typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));
typedef double Doubles __attribute__((vector_size(16)));

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
/// The first n of four, the others 0.
inline Floats load_some(const float* from, int64_t n) {
  Floats v = {};
  std::memcpy(&v, from, static_cast<size_t>(n) * sizeof(float));
  return v;
}

inline Ints as_ints(Floats v) {
  return reinterpret_cast<Ints>(v);
}
inline Floats as_floats(Ints v) {
  return reinterpret_cast<Floats>(v);
}

inline Floats sizes(Floats v) {
  return as_floats(as_ints(v) & INT32_MAX);
}
inline Floats nearest(Floats v) {
  return (v + 0x1.8p23f) - 0x1.8p23f;
}
inline Floats at_least(Floats v, Floats least) {
  return v < least ? least : v;
}
inline Floats at_most(Floats v, Floats most) {
  return v > most ? most : v;
}

/// The numbers of E4M3 nearest to some sizes, at most 448.
inline Floats nearest_e4m3(Floats size) {
  const Ints bits = as_ints(at_most(size, Floats{448, 448, 448, 448}));
  const Ints normal = (bits + 0x7ffff + ((bits >> 20) & 1)) & static_cast<int32_t>(0xfff00000u);
  const Floats small = (as_floats(bits) + 0x1p14f) - 0x1p14f;
  return as_floats(bits) < 0x1p-6f ? small : as_floats(normal);
}

}  // namespace mm2::coding
