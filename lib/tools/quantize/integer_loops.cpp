// The inner loops of the integer quantizers, compiled for speed.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tools/quantize/integers.h"

namespace mm2::coding {
namespace {

constexpr int64_t kLanes = 16;

// 1 / x as AutoRound has it.
template <Arithmetic kType>
float reciprocal(float x) {
  return std::fabs(x) >= 1e-30f ? narrow<kType>(1.0f / x) : 0.0f;
}

// The squared error of one candidate: every element in the type of the weights, the sum in double.
template <Arithmetic kType>
double search_loss(const float* weights, const float* importance, int64_t n, float inverse,
                   float scale, float low, float high) {
  double lanes[kLanes] = {};
  const auto term = [&](float w, float q) {
    const float code = nearest(at_most(at_least(narrow<kType>(inverse * w), low), high));
    const float off = narrow<kType>(narrow<kType>(scale * code) - w);
    return off * off * q;
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      lanes[l] += term(weights[i + l], importance == nullptr ? 1.0f : importance[i + l]);
    }
  }
  for (int64_t l = 0; i < n; ++i, ++l) {
    lanes[l] += term(weights[i], importance == nullptr ? 1.0f : importance[i]);
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

template <Arithmetic kType>
void group_codes(const float* weights, int64_t n, const GroupCodes& g, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = narrow<kType>(narrow<kType>(weights[i] / g.scale) + g.shift);
    const float held = at_most(at_least(x, g.low), g.high);
    codes[i] = static_cast<uint8_t>(bits_of(held + 0x1.8p23f) + static_cast<uint32_t>(g.middle));
  }
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
    const double loss =
        search_loss<kType>(weights, importance, n, candidate, scale, -half, half - 1);
    if (step != -101 && !(loss < best)) continue;
    best = loss;
    best_scale = scale;
  }
  return best_scale;
}
template float searched_scale<Arithmetic::f32>(const float*, const float*, int64_t, int);
template float searched_scale<Arithmetic::bf16>(const float*, const float*, int64_t, int);

}  // namespace mm2::coding
