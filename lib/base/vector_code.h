// Loops that are compiled three times: for every CPU of the architecture, for AVX2 and for AVX-512,
// which are taken where the machine has them. All do the same operations in the same order (fused
// products are off), so all give the same bits.
//
//   inline __attribute__((always_inline)) void add_loop(const float* a, int64_t n, double* sums) {...}
//   void add(const float* a, int64_t n, double* sums) { VectorCode<add_loop>::run(a, n, sums); }
//
// The loop must be always_inline to become part of all; what it calls must be small, or so too.
#pragma once

#include <cstring>

namespace mm2 {

template <auto kLoop>
struct VectorCode;

template <typename Value, typename... Arguments, Value (*kLoop)(Arguments...)>
struct VectorCode<kLoop> {
  static Value plain(Arguments... arguments) { return kLoop(arguments...); }
#if defined(__x86_64__)
  __attribute__((target("avx2"))) static Value avx2(Arguments... arguments) {
    return kLoop(arguments...);
  }
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"))) static Value
  avx512(Arguments... arguments) {
    return kLoop(arguments...);
  }
  static Value run(Arguments... arguments) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      return avx512(arguments...);
    }
    return __builtin_cpu_supports("avx2") ? avx2(arguments...) : plain(arguments...);
  }
#else
  static Value run(Arguments... arguments) {
    return plain(arguments...);
  }
#endif
};

// Four numbers at a time, for sums in several lanes: the compiler keeps arrays of partial sums in
// memory. They go in and out by reference: passing them by value differs from CPU to CPU.
typedef float FourFloats __attribute__((vector_size(16)));
typedef double FourDoubles __attribute__((vector_size(32)));

inline __attribute__((always_inline)) void load_four(const float* from, FourFloats& to) {
  std::memcpy(&to, from, sizeof to);
}
inline __attribute__((always_inline)) void load_four(const float* from, FourDoubles& to) {
  FourFloats narrow;
  load_four(from, narrow);
  to = __builtin_convertvector(narrow, FourDoubles);
}

}  // namespace mm2
