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

/// Four doubles as two times two: the form that compiles to vector code.
inline void widen(const Floats& v, Doubles& low, Doubles& high) {
  typedef double Four __attribute__((vector_size(32)));
  const Four all = __builtin_convertvector(v, Four);
  low = __builtin_shufflevector(all, all, 0, 1);
  high = __builtin_shufflevector(all, all, 2, 3);
}

/// A sum in four lanes of doubles; value() adds them in a fixed order.
struct DoubleSum {
  Doubles low = {}, high = {};

  void add(Doubles a, Doubles b) {
    low += a;
    high += b;
  }
  void add(const Floats& v) {
    Doubles a, b;
    widen(v, a, b);
    add(a, b);
  }
  double value() const { return (low[0] + low[1]) + (high[0] + high[1]); }
};

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
