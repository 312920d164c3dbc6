#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "base/vector_code.h"
#include "tools/quantize/lanes.h"
#include "tools/quantize/quantize.h"

namespace mm2 {
namespace {

using coding::bits_of;
using coding::float_of;
using coding::narrow;

constexpr float kLargest = 448.0f;
constexpr float kLeastScale = 0x1p-126f;  // what readers take

// Adding -0 leaves every number as it is; adding 0 turns -0 into 0.
template <Arithmetic kType>
inline __attribute__((always_inline)) void quotient_loop(const float* __restrict weights, int64_t n,
                                                         float scale, float plus,
                                                         uint8_t* __restrict codes) {
  for (int64_t i = 0; i < n; ++i) {
    codes[i] = coding::e4m3_code(narrow<kType>(weights[i] / scale) + plus);
  }
}

inline __attribute__((always_inline)) void product_loop(const float* __restrict weights, int64_t n,
                                                        float inverse, uint8_t* __restrict codes) {
  for (int64_t i = 0; i < n; ++i) codes[i] = coding::e4m3_code(weights[i] * inverse);
}

// In four lanes.
inline __attribute__((always_inline)) double square_loop(const float* weights, int64_t n,
                                                         float scale) {
  FourDoubles sum = {};
  const auto add = [&](const coding::Floats& w) __attribute__((always_inline)) {
    const coding::Floats size = coding::sizes(w);
    const coding::Floats made = coding::nearest_e4m3(size / scale) * scale;
    const FourDoubles off =
        __builtin_convertvector(made, FourDoubles) - __builtin_convertvector(size, FourDoubles);
    sum += off * off;
  };
  int64_t i = 0;
  for (; i + coding::kLanes <= n; i += coding::kLanes) add(coding::load(weights + i));
  if (i < n) add(coding::load_some(weights + i, n - i));
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/// A block of the matrix.
struct Block {
  const float* weights;
  int64_t n_rows, n_cols, stride;
};

constexpr int kCandidates = 25;  // 0.92 to 1.16 times what the largest weight asks for
constexpr int kFromOneOn = 8;

// Squared errors of n weights by one scale, in F32 and in steps of the scale: quotients as products,
// ties away from 0, codes below 2^-6 as fine as the others.
template <bool kSaturates>
inline __attribute__((always_inline)) double rough_loop(const float* weights, int64_t n,
                                                        float inverse) {
  constexpr int kWide = 32;
  float squares[kWide] = {};
  for (int64_t i = 0; i < n; i += kWide) {
    for (int l = 0; l < kWide; ++l) {
      const float q = float_of(bits_of(weights[i + l]) & 0x7fffffffu) * inverse;
      const float held = kSaturates && q > kLargest ? kLargest : q;
      const float off = float_of((bits_of(held) + 0x80000u) & 0xfff00000u) - q;
      squares[l] += off * off;
    }
  }
  double sum = 0;
  for (int l = 0; l < kWide; ++l) sum += double{squares[l]};
  return sum;
}

inline __attribute__((always_inline)) int32_t count_below(const float* weights, int64_t n,
                                                          float limit) {
  const auto most = static_cast<int32_t>(bits_of(limit));
  int32_t found = 0;
  for (int64_t i = 0; i < n; ++i) {
    found += static_cast<int32_t>(bits_of(weights[i]) & 0x7fffffffu) < most ? 1 : 0;
  }
  return found;
}

double exact_error(const Block& b, float scale) {
  double error = 0;
  for (int64_t r = 0; r < b.n_rows; ++r) {
    error += VectorCode<square_loop>::run(b.weights + r * b.stride, b.n_cols, scale);
  }
  return error;
}

// Which candidates may be the best: all whose rough error, as a length, is not above the smallest one
// by more than roughness explains. A quotient that is off by 2^-22 moves an error by 2^-21 of its
// weight at most, and weights are at most 448 steps; a code below 2^-6 is off by 2^-10 steps at most;
// sums of squares in F32 by 2^-18.
uint32_t candidates(const Block& b, const float* scales, float base) {
  constexpr uint32_t kAll = (1u << kCandidates) - 1;
  constexpr float kTiny = 1e-12f, kHuge = 1e12f;  // beyond, squares leave the range of F32
  if (b.n_cols % 32 != 0 || !(base > kTiny && base < kHuge)) return kAll;
  double lengths[kCandidates] = {};
  double n_small = 0;
  for (int64_t r = 0; r < b.n_rows; ++r) {
    const float* const row = b.weights + r * b.stride;
    n_small += VectorCode<count_below>::run(row, b.n_cols, base * 0x1p-5f);
    for (int k = 0; k < kCandidates; ++k) {
      const float inverse = 1.0f / scales[k];
      lengths[k] += k < kFromOneOn ? VectorCode<rough_loop<true>>::run(row, b.n_cols, inverse)
                                   : VectorCode<rough_loop<false>>::run(row, b.n_cols, inverse);
    }
  }
  for (int k = 0; k < kCandidates; ++k) lengths[k] = std::sqrt(lengths[k]) * scales[k];
  const double n = static_cast<double>(b.n_rows) * static_cast<double>(b.n_cols);
  const double off =
      (kLargest * 0x1p-21 * std::sqrt(n) + 0x1p-10 * std::sqrt(n_small)) * 1.16 * base;
  const double most = (*std::min_element(lengths, lengths + kCandidates) + 2 * off) * (1 + 0x1p-16);
  uint32_t possible = 0;
  for (int k = 0; k < kCandidates; ++k) possible |= lengths[k] <= most ? 1u << k : 0u;
  return possible;
}

// The first of those with the smallest error.
float searched_scale(const Block& b, float base) {
  float scales[kCandidates];
  for (int k = 0; k < kCandidates; ++k) {
    scales[k] = std::max(base * (static_cast<float>(92 + k) / 100.0f), kLeastScale);
  }
  const uint32_t possible = candidates(b, scales, base);
  if (std::has_single_bit(possible)) return scales[std::countr_zero(possible)];
  float best_scale = base;
  double best = std::numeric_limits<double>::infinity();
  for (int k = 0; k < kCandidates; ++k) {
    if ((possible >> k & 1u) == 0) continue;
    const double error = exact_error(b, scales[k]);
    if (!(error < best)) continue;
    best = error;
    best_scale = scales[k];
  }
  return best_scale;
}

float above_power(float x) {  // the least power of two that is not below x
  const uint32_t bits = bits_of(x);
  return float_of((bits & 0x7fffffu) == 0 ? bits : ((bits >> 23) + 1) << 23);
}

template <Arithmetic kType>
float scale_of(const Block& b, float size, Fp8Rule rule) {
  switch (rule) {
    case Fp8Rule::deepgemm:
      return std::max(size, 1e-4f) / kLargest;
    case Fp8Rule::ue8m0:
      return above_power(std::max(size, 1e-4f) / kLargest);
    case Fp8Rule::slime:
      return std::max(size, 1e-12f) / kLargest;
    default:
      break;
  }
  if (size == 0) {
    if (rule != Fp8Rule::compressed_tensors) return 1;
    return kType == Arithmetic::f32 ? 0x1p-23f : 0x1p-7f;
  }
  const float base = narrow<kType>(size / kLargest);
  if (rule == Fp8Rule::mse) return searched_scale(b, base);
  return std::max(base, kLeastScale);
}

template <Arithmetic kType>
Status quantize_block(const WeightRows& rows, const Block& b, Fp8Rule rule, uint8_t* codes,
                      float& scale) {
  int32_t largest = 0;
  for (int64_t r = 0; r < b.n_rows; ++r) {
    largest = std::max(largest, coding::largest_size_bits(b.weights + r * b.stride, b.n_cols));
  }
  if (largest >= coding::kInfinityBits) return coding::not_finite(rows);
  const float size = float_of(static_cast<uint32_t>(largest));
  scale = scale_of<kType>(b, size, rule);
  const bool by_product = rule == Fp8Rule::deepgemm || rule == Fp8Rule::ue8m0;
  const float plus = rule == Fp8Rule::compressed_tensors ? 0.0f : -0.0f;
  for (int64_t r = 0; r < b.n_rows; ++r, codes += b.stride) {
    const float* weights = b.weights + r * b.stride;
    if (by_product) {
      VectorCode<product_loop>::run(weights, b.n_cols, 1.0f / scale, codes);
    } else {
      VectorCode<quotient_loop<kType>>::run(weights, b.n_cols, scale, plus, codes);
    }
  }
  return {};
}

}  // namespace

Status quantize_fp8(const WeightRows& rows, const Fp8Options& options, uint8_t* codes,
                    float* scales) {
  if (options.block_rows < 0 || options.block_cols < 0) {
    return error(Code::invalid_argument, "blocks of ", options.block_rows, " x ",
                 options.block_cols, " weights");
  }
  if (rows.n_rows == 0 || rows.n_cols == 0) return {};
  const int64_t block_rows = options.block_rows == 0 ? rows.n_rows : options.block_rows;
  const int64_t block_cols = options.block_cols == 0 ? rows.n_cols : options.block_cols;
  const bool narrow_type =
      options.arithmetic == Arithmetic::bf16 &&
      (options.rule == Fp8Rule::compressed_tensors || options.rule == Fp8Rule::modelopt);
  const int64_t n_blocks = ceil_div(rows.n_cols, block_cols);
  for (int64_t r = 0; r < rows.n_rows; r += block_rows) {
    for (int64_t c = 0; c < rows.n_cols; c += block_cols) {
      const Block b{rows.row(r) + c, std::min(block_rows, rows.n_rows - r),
                    std::min(block_cols, rows.n_cols - c), rows.n_cols};
      uint8_t* to = codes + r * rows.n_cols + c;
      float& scale = scales[r / block_rows * n_blocks + c / block_cols];
      MM2_RETURN_IF_ERROR(narrow_type
                              ? quantize_block<Arithmetic::bf16>(rows, b, options.rule, to, scale)
                              : quantize_block<Arithmetic::f32>(rows, b, options.rule, to, scale));
    }
  }
  return {};
}

}  // namespace mm2
