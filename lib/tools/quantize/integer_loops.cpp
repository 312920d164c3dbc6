// The inner loops of the integer quantizers, compiled for speed.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/vector_code.h"
#include "tools/quantize/integers.h"
#include "tools/quantize/lanes.h"

namespace mm2::coding {
namespace {

// 1 / x as AutoRound has it.
template <Arithmetic kType>
float reciprocal(float x) {
  return std::fabs(x) >= 1e-30f ? narrow<kType>(1.0f / x) : 0.0f;
}

template <Arithmetic kType>
Floats narrowed(Floats v) {
  if constexpr (kType == Arithmetic::f32) return v;
  const Ints bits = as_ints(v);
  return as_floats((bits + 0x7fff + ((bits >> 16) & 1)) & static_cast<int32_t>(0xffff0000u));
}

// The squared error of one candidate: every element in the type of the weights, the sum in double.
// Lanes behind the last weight hold 0, which has no error.
template <Arithmetic kType>
inline __attribute__((always_inline)) double loss_loop(const float* weights,
                                                       const float* importance, int64_t n,
                                                       float inverse, float scale, float low,
                                                       float high) {
  const Floats least = Floats{} + low, most = Floats{} + high;
  FourDoubles sum = {};
  const auto add = [&](const Floats& w, const Floats& by) __attribute__((always_inline)) {
    const Floats code = nearest(at_most(at_least(narrowed<kType>(inverse * w), least), most));
    const Floats off = narrowed<kType>(narrowed<kType>(scale * code) - w);
    const Floats square = importance == nullptr ? off * off : off * off * by;
    sum += __builtin_convertvector(square, FourDoubles);
  };
  const auto weight_of = [&](int64_t i) {
    return importance == nullptr ? weights + i : importance + i;
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) add(load(weights + i), load(weight_of(i)));
  if (i < n) add(load_some(weights + i, n - i), load_some(weight_of(i), n - i));
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <Arithmetic kType>
inline __attribute__((always_inline)) void codes_loop(const float* __restrict weights, int64_t n,
                                                      const GroupCodes& g,
                                                      uint8_t* __restrict codes) {
  const float scale = g.scale, shift = g.shift, low = g.low, high = g.high;
  const auto middle = static_cast<uint32_t>(g.middle);
  for (int64_t i = 0; i < n; ++i) {
    const float x = narrow<kType>(narrow<kType>(weights[i] / scale) + shift);
    const float held = at_most(at_least(x, low), high);
    codes[i] = static_cast<uint8_t>(bits_of(held + 0x1.8p23f) + middle);
  }
}

}  // namespace

template <Arithmetic kType>
void group_codes(const float* weights, int64_t n, const GroupCodes& g, uint8_t* codes) {
  VectorCode<codes_loop<kType>>::run(weights, n, g, codes);
}
template void group_codes<Arithmetic::f32>(const float*, int64_t, const GroupCodes&, uint8_t*);
template void group_codes<Arithmetic::bf16>(const float*, int64_t, const GroupCodes&, uint8_t*);

template <Arithmetic kType>
float searched_scale(const float* weights, const float* importance, int64_t n, int bits) {
  const auto half = static_cast<float>(1 << (bits - 1));
  float largest = 0;  // the first of the largest size
  for (int64_t i = 0; i < n; ++i) {
    if (std::fabs(weights[i]) > std::fabs(largest)) largest = weights[i];
  }
  const float inverse = reciprocal<kType>(largest);
  float best_scale = 0;
  double best = 0;
  for (int step = -101; step <= 100; ++step) {
    const int k = step == -101 ? 0 : step;
    if (step == 0) continue;
    // Python calculates the factor in double; the tensor's type rounds it.
    const auto factor = static_cast<float>(-(static_cast<double>(half) - 0.06 * k));
    const float candidate = narrow<kType>(factor * inverse);
    const float scale = reciprocal<kType>(candidate);
    const double loss = VectorCode<loss_loop<kType>>::run(weights, importance, n, candidate, scale,
                                                          -half, half - 1);
    if (step != -101 && !(loss < best)) continue;
    best = loss;
    best_scale = scale;
  }
  return best_scale;
}
template float searched_scale<Arithmetic::f32>(const float*, const float*, int64_t, int);
template float searched_scale<Arithmetic::bf16>(const float*, const float*, int64_t, int);

}  // namespace mm2::coding
