// E2M1 (and E4M3) codes in small groups: NVFP4, MXFP4, MXFP8.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>

#include "tensor/convert.h"
#include "tools/quantize/quantize.h"

namespace mm2 {
namespace {

using coding::bits_of;
using coding::e2m1_code;
using coding::e2m1_code_plus_zero;
using coding::e2m1_size_ties_down;
using coding::narrow;

// ---- NVFP4

constexpr float kMostGlobal = FLT_MAX;
constexpr float kRange = 6 * 448;
constexpr float kRangeFourOverSix = 6 * 256;

/// One matrix by one rule.
class Nvfp4 {
 public:
  Nvfp4(const Nvfp4Options& options, float global) : options_(options), global_(global) {}

  uint8_t quantize(const float* weights, float size, uint8_t* codes) const {
    const uint8_t six = scale(size, 6);
    codes_of(weights, six, codes);
    if (!options_.four_over_six) return six;
    const uint8_t four = scale(size, 4);
    uint8_t other[kNvfp4Group];
    codes_of(weights, four, other);
    if (!(loss(weights, four, other) < loss(weights, six, codes))) return six;
    std::copy(other, other + kNvfp4Group, codes);
    return four;
  }

 private:
  bool divides() const { return options_.rule == Nvfp4Rule::compressed_tensors; }

  // The scale with which `size` becomes `top`.
  uint8_t scale(float size, float top) const {
    if (divides()) {
      const bool rounds = options_.arithmetic == Arithmetic::bf16;
      const float part = rounds ? narrow<Arithmetic::bf16>(size / top) : size / top;
      const uint8_t code = coding::e4m3_code(global_ * part);
      return code == 0 ? coding::e4m3_code(0.125f) : code;
    }
    const float exact = size / (top * global_);
    const float held = exact == 0 ? 1.0f : std::clamp(exact, 0x1p-9f, 448.0f);
    return coding::e4m3_code(held);
  }
  float step(uint8_t scale) const {
    return divides() ? e4m3_to_f32(scale) / global_ : e4m3_to_f32(scale) * global_;
  }
  void codes_of(const float* weights, uint8_t scale, uint8_t* codes) const {
    const float by = step(scale);
    if (divides()) {  // the tool adds 0, then keeps the sign
      for (int i = 0; i < kNvfp4Group; ++i) codes[i] = e2m1_code(weights[i] / by + 0.0f);
    } else {
      for (int i = 0; i < kNvfp4Group; ++i) codes[i] = e2m1_code_plus_zero(weights[i] / by);
    }
  }
  double loss(const float* weights, uint8_t scale, const uint8_t* codes) const {
    const float by = step(scale);
    double sum = 0;
    for (int i = 0; i < kNvfp4Group; ++i) {
      const double off = static_cast<double>(kernels::e2m1_to_f32(codes[i]) * by) - weights[i];
      sum += off * off;
    }
    return sum;
  }

  const Nvfp4Options& options_;
  const float global_;
};

Status check_groups(const WeightRows& rows, int64_t group) {
  if (rows.n_cols % group == 0) return {};
  return error(Code::invalid_argument, "groups of ", group, " columns do not divide ", rows.n_cols,
               " columns");
}

// ---- MX

// floor(log2(size)) of anything above 0.
int floor_log2(float size) {
  return std::ilogb(size);
}

/// Codes of one type of element over powers of two.
class Mx {
 public:
  explicit Mx(const MxOptions& options) : options_(options), offset_(options.bits == 4 ? 2 : 8) {}

  uint8_t quantize(const float* weights, float size, uint8_t* codes) const {
    switch (options_.rule) {
      case MxRule::compressed_tensors: {
        // What is at least 1.75 times a power of two counts as the next one.
        const auto exponent = static_cast<int>((bits_of(size) + (1u << 21)) >> 23);
        const int e = std::max(0, exponent - offset_) - 127;
        return made(weights, e, options_.bits == 4 ? 0.0f : -0.0f, codes);
      }
      case MxRule::auto_round:
        return made(weights, floored(size), 0, codes);
      case MxRule::auto_round_opt:
        return searched(weights, size, codes);
      case MxRule::modelopt:
        return above(weights, size, codes);
    }
    return 0;
  }

 private:
  static uint8_t stored(int e) { return static_cast<uint8_t>(e + 127); }

  // `plus`: 0 turns -0 into 0, -0 leaves it.
  uint8_t made(const float* weights, int e, float plus, uint8_t* codes) const {
    const float inverse = coding::power_of_two(-e);
    if (options_.bits == 4) {
      for (int i = 0; i < kMxGroup; ++i) codes[i] = e2m1_code((weights[i] + plus) * inverse);
    } else {
      for (int i = 0; i < kMxGroup; ++i) {
        codes[i] = coding::e4m3_code((weights[i] + plus) * inverse);
      }
    }
    return stored(e);
  }

  int floored(float size) const {
    const int e = size == 0 ? 1 : std::isinf(size) ? 128 : floor_log2(size);
    return std::clamp(e - offset_, -127, 127);
  }

  double loss(const float* weights, int e, const uint8_t* codes) const {
    const float by = coding::power_of_two(e);
    double sum = 0;
    for (int i = 0; i < kMxGroup; ++i) {
      const float code =
          options_.bits == 4 ? kernels::e2m1_to_f32(codes[i]) : e4m3_to_f32(codes[i]);
      const float off = code * by - weights[i];
      sum += static_cast<double>(off) * off;
    }
    return sum;
  }

  uint8_t searched(const float* weights, float size, uint8_t* codes) const {
    uint8_t best = made(weights, floored(size), 0, codes);
    double least = loss(weights, best - 127, codes);
    for (const float factor : {0.5f, 2.0f}) {
      uint8_t other[kMxGroup];
      const int e = floored(size * factor);
      made(weights, e, 0, other);
      const double candidate = loss(weights, e, other);
      if (!(candidate < least)) continue;
      least = candidate;
      best = stored(e);
      std::copy(other, other + kMxGroup, codes);
    }
    return best;
  }

  // ModelOpt: log2 in F32, rounded up; every zero is -0.
  uint8_t above(const float* weights, float size, uint8_t* codes) const {
    const auto log = static_cast<float>(std::log2(static_cast<double>(size / 6.0f)));
    const int e = size == 0 ? -127 : static_cast<int>(std::ceil(std::max(log, -127.0f)));
    const float inverse = coding::power_of_two(-e);
    for (int i = 0; i < kMxGroup; ++i) {
      const uint32_t sign = weights[i] <= 0.0f ? 8u : 0u;
      codes[i] = static_cast<uint8_t>(e2m1_size_ties_down(weights[i] * inverse) | sign);
    }
    return stored(e);
  }

  const MxOptions& options_;
  const int offset_;  // from the exponent of the largest weight to that of the largest code
};

// Calls quantize(weights, largest size, codes) -> scale for each group.
template <int kGroup, typename F>
Status each_group(const WeightRows& rows, uint8_t* codes, uint8_t* scales, const F& f) {
  MM2_RETURN_IF_ERROR(check_groups(rows, kGroup));
  for (int64_t i = 0; i < rows.n_rows * rows.n_cols; i += kGroup) {
    const int32_t size = coding::largest_bits<kGroup>(rows.weights + i);
    if (size >= std::bit_cast<int32_t>(INFINITY)) return coding::not_finite(rows);
    scales[i / kGroup] = f.quantize(rows.weights + i, std::bit_cast<float>(size), codes + i);
  }
  return {};
}

}  // namespace

Result<float> largest_size(const WeightRows& rows) {
  const int32_t size = coding::largest_size_bits(rows.weights, rows.n_rows * rows.n_cols);
  if (size >= coding::kInfinityBits) return coding::not_finite(rows);
  return std::bit_cast<float>(size);
}

float nvfp4_global_scale(float largest, const Nvfp4Options& options) {
  if (largest == 0) return 1;
  const float range = options.four_over_six ? kRangeFourOverSix : kRange;
  if (options.rule == Nvfp4Rule::modelopt) return std::max(largest / range, FLT_MIN);
  const float global = options.arithmetic == Arithmetic::bf16
                           ? narrow<Arithmetic::bf16>(range * narrow<Arithmetic::bf16>(1 / largest))
                           : range * (1 / largest);
  return std::clamp(global, kRange / FLT_MAX, kMostGlobal);
}

Status quantize_nvfp4(const WeightRows& rows, const Nvfp4Options& options, float global,
                      uint8_t* codes, uint8_t* scales) {
  if (!(global > 0) || !std::isfinite(global)) {
    return error(Code::invalid_argument, "global scale ", global, ", must be above 0 and finite");
  }
  return each_group<kNvfp4Group>(rows, codes, scales, Nvfp4(options, global));
}

Status quantize_mx(const WeightRows& rows, const MxOptions& options, uint8_t* codes,
                   uint8_t* exponents) {
  if (options.bits != 4 && options.bits != 8) {
    return error(Code::invalid_argument, "MX codes of ", options.bits, " bits, must be 4 or 8");
  }
  if (options.rule == MxRule::modelopt && options.bits != 4) {
    return error(Code::invalid_argument, "ModelOpt's rule is for MX codes of 4 bits");
  }
  return each_group<kMxGroup>(rows, codes, exponents, Mx(options));
}

}  // namespace mm2
