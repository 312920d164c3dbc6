#include <algorithm>
#include <cmath>

#include "base/checked.h"
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
void codes_by_quotient(const float* weights, int64_t n, float scale, float plus, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) {
    codes[i] = coding::e4m3_code(narrow<kType>(weights[i] / scale) + plus);
  }
}

void codes_by_product(const float* weights, int64_t n, float inverse, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) codes[i] = coding::e4m3_code(weights[i] * inverse);
}

double squared_error(const float* weights, int64_t n, float scale) {
  coding::DoubleSum sum;
  const auto add = [&](coding::Floats w) {
    const coding::Floats size = coding::sizes(w);
    const coding::Floats made = coding::nearest_e4m3(size / scale) * scale;
    coding::Doubles want[2], got[2];
    coding::widen(size, want[0], want[1]);
    coding::widen(made, got[0], got[1]);
    got[0] -= want[0];
    got[1] -= want[1];
    sum.add(got[0] * got[0], got[1] * got[1]);
  };
  int64_t i = 0;
  for (; i + coding::kLanes <= n; i += coding::kLanes) add(coding::load(weights + i));
  if (i < n) add(coding::load_some(weights + i, n - i));
  return sum.value();
}

/// A block of the matrix.
struct Block {
  const float* weights;
  int64_t n_rows, n_cols, stride;
};

float searched_scale(const Block& b, float base) {
  float best_scale = base;
  double best = 0;
  for (int k = 0; k < 25; ++k) {
    const float factor = static_cast<float>(92 + k) / 100.0f;
    const float scale = std::max(base * factor, kLeastScale);
    double error = 0;
    for (int64_t r = 0; r < b.n_rows; ++r) {
      error += squared_error(b.weights + r * b.stride, b.n_cols, scale);
    }
    if (k > 0 && !(error < best)) continue;
    best = error;
    best_scale = scale;
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
  float size = 0;
  for (int64_t r = 0; r < b.n_rows; ++r) {
    const coding::Extremes e = coding::extremes(b.weights + r * b.stride, b.n_cols);
    if (!e.finite) return coding::not_finite(rows);
    size = std::max(size, e.size());
  }
  scale = scale_of<kType>(b, size, rule);
  const bool by_product = rule == Fp8Rule::deepgemm || rule == Fp8Rule::ue8m0;
  const float plus = rule == Fp8Rule::compressed_tensors ? 0.0f : -0.0f;
  for (int64_t r = 0; r < b.n_rows; ++r, codes += b.stride) {
    const float* weights = b.weights + r * b.stride;
    if (by_product) {
      codes_by_product(weights, b.n_cols, 1.0f / scale, codes);
    } else {
      codes_by_quotient<kType>(weights, b.n_cols, scale, plus, codes);
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
