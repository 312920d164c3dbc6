#include "tools/quantize/integers.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/convert.h"

namespace mm2 {
namespace {

using coding::at_least;
using coding::at_most;
using coding::Extremes;
using coding::GroupCodes;
using coding::narrow;
using coding::nearest;

float as_f16(float x) {
  return f16_to_f32(f32_to_f16(x));
}

// The smallest scale of AutoRound, of either sign, in F16.
float floored(float scale) {
  const float least = as_f16(1e-5f);
  return scale < 0 ? at_most(scale, -least) : at_least(scale, least);
}

/// Scale and zero of one group by one rule. kType: the type in which the tool calculates.
template <Arithmetic kType>
class Group {
 public:
  Group(const IntOptions& options, const Extremes& e)
      : options_(options),
        half_(static_cast<float>(1 << (options.bits - 1))),
        levels_(static_cast<float>((1 << options.bits) - 1)),
        low_(e.low),
        high_(e.high) {}

  GroupCodes make(const float* weights, const float* importance, int64_t n) const {
    switch (options_.rule) {
      case IntRule::auto_round:
        return options_.symmetric ? auto_round() : around_zero(floored(as_f16(range())));
      case IntRule::auto_round_opt:
        return around_middle(
            floored_f32(coding::searched_scale<kType>(weights, importance, n, options_.bits)));
      case IntRule::auto_round_gptq:
        return around_middle(floored(as_f16(gptq_range(low_, high_))));
      case IntRule::compressed_tensors:
        return compressed_tensors();
      case IntRule::gptqmodel:
        return gptqmodel();
    }
    return {};
  }

 private:
  float div(float a, float b) const { return narrow<kType>(a / b); }
  float range() const { return div(narrow<kType>(high_ - low_), levels_); }

  // Symmetric GPTQ widens the range below zero only where there is something below zero.
  float gptq_range(float low, float high) const {
    const float size = -low > high ? -low : high;
    return div(narrow<kType>(size - (low < 0 ? -size : low)), levels_);
  }

  // The extreme of larger size becomes the code at the lower end, whatever its sign.
  GroupCodes auto_round() const {
    const float signed_size = high_ < -low_ ? -low_ : -high_;
    return around_middle(floored(as_f16(div(signed_size, half_))));
  }
  static float floored_f32(float scale) {
    const float least = narrow<kType>(1e-5f);
    return scale < 0 ? at_most(scale, -least) : at_least(scale, least);
  }

  GroupCodes around_middle(float scale) const { return {scale, 0, -half_, levels_ - half_, half_}; }
  // Codes counted from the zero, which is rounded on its own.
  GroupCodes around_zero(float scale) const {
    const float zero = at_most(nearest(at_most(-low_ / scale, levels_)), levels_);
    return {scale, 0, -zero, levels_ - zero, zero};
  }

  // The zero is added before rounding, so ties go to the even sum.
  GroupCodes compressed_tensors() const {
    const float none = kType == Arithmetic::f32 ? 0x1p-23f : 0x1p-7f;
    if (options_.symmetric) {
      const float size = -low_ > high_ ? -low_ : high_;
      const float scale = coding::normal_scale(div(size, levels_ / 2));
      return around_middle(scale == 0 ? none : scale);
    }
    const float scale = coding::normal_scale(range());
    if (scale == 0) return {none, 0, -half_, levels_ - half_, half_};
    const float zero = narrow<kType>(-half_ - div(low_, scale));
    const float whole = nearest(at_most(at_least(zero, -half_), levels_ - half_));
    return {scale, whole, -half_, levels_ - half_, half_};
  }

  GroupCodes gptqmodel() const {
    const bool none = low_ == 0 && high_ == 0;
    const float low = none ? -1 : low_, high = none ? 1 : high_;
    if (options_.symmetric) return around_middle(coding::normal_scale(gptq_range(low, high)));
    const float scale = coding::normal_scale(div(narrow<kType>(high - low), levels_));
    const float zero = nearest(at_most(-low / scale, levels_));
    return {scale, 0, -zero, levels_ - zero, zero};
  }

  const IntOptions& options_;
  const float half_, levels_;
  const float low_, high_;
};

Status check(const WeightRows& rows, const IntOptions& options) {
  if (options.bits < 2 || options.bits > 8) {
    return error(Code::invalid_argument, "integers of ", options.bits, " bits, must be 2 to 8");
  }
  const int64_t group = options.group_of(rows.n_cols);
  if (options.group < 0 || (group == 0 ? rows.n_cols != 0 : rows.n_cols % group != 0)) {
    return error(Code::invalid_argument, "groups of ", options.group, " columns do not divide ",
                 rows.n_cols, " columns");
  }
  const bool only_symmetric =
      options.rule == IntRule::auto_round_opt || options.rule == IntRule::auto_round_gptq;
  if (only_symmetric && !options.symmetric) {
    return error(Code::invalid_argument, "this rule of AutoRound makes symmetric codes only");
  }
  for (int64_t i = 0; options.imatrix != nullptr && i < rows.n_cols; ++i) {
    if (options.imatrix[i] >= 0 && std::isfinite(options.imatrix[i])) continue;
    return error(Code::invalid_argument, "importance of column ", i, " is ", options.imatrix[i],
                 ", must be finite and not negative");
  }
  return {};
}

// Importance of one group without zeros, as AutoRound fills them in: with the mean of the others, or,
// where more than half are missing, with what the weights themselves say.
const float* filled(const float* importance, const float* weights, int64_t n, float* scratch) {
  int64_t n_zero = 0;
  double sum = 0, square = 0;
  for (int64_t i = 0; i < n; ++i) {
    n_zero += importance[i] == 0 ? 1 : 0;
    sum += importance[i];
    square += static_cast<double>(weights[i]) * weights[i];
  }
  if (n_zero == 0) return importance;
  const auto mean = static_cast<float>(sum / static_cast<double>(std::max<int64_t>(1, n - n_zero)));
  const double floor = std::sqrt(square / 32);
  for (int64_t i = 0; i < n; ++i) {
    if (n_zero > n / 2) {
      scratch[i] = static_cast<float>(std::fabs(weights[i]) + floor);
    } else {
      scratch[i] = importance[i] == 0 ? mean : importance[i];
    }
  }
  return scratch;
}

template <Arithmetic kType>
Status quantize_rows(const WeightRows& rows, const IntOptions& options, uint8_t* codes,
                     float* scales, uint8_t* zeros) {
  const int64_t group = options.group_of(rows.n_cols);
  const int64_t n_groups = group == 0 ? 0 : rows.n_cols / group;
  const bool wide_quotient = options.rule == IntRule::auto_round ||
                             options.rule == IntRule::auto_round_gptq;  // BF16 / F16 is F32
  std::vector<float> scratch(options.imatrix == nullptr ? 0 : static_cast<size_t>(group));
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    for (int64_t g = 0; g < n_groups; ++g) {
      const float* weights = rows.row(r) + g * group;
      const Extremes e = coding::extremes(weights, group);
      if (!e.finite) return coding::not_finite(rows);
      const float* importance = options.imatrix == nullptr ? nullptr
                                                           : filled(options.imatrix + g * group,
                                                                    weights, group, scratch.data());
      const GroupCodes made = Group<kType>(options, e).make(weights, importance, group);
      if (!std::isfinite(made.scale)) {
        return error(Code::numeric, "row ", rows.first_row + r, ", columns from ", g * group,
                     ": weights from ", e.low, " to ", e.high, " need a scale above what ",
                     dtype_name(int_scale_dtype(options)), " holds");
      }
      uint8_t* to = codes + r * rows.n_cols + g * group;
      if (kType == Arithmetic::f32 || wide_quotient) {
        coding::group_codes<Arithmetic::f32>(weights, group, made, to);
      } else {
        coding::group_codes<Arithmetic::bf16>(weights, group, made, to);
      }
      scales[r * n_groups + g] = made.scale;
      if (zeros != nullptr) {
        zeros[r * n_groups + g] = static_cast<uint8_t>(made.middle + made.shift);
      }
    }
  }
  return {};
}

}  // namespace

Dtype int_scale_dtype(const IntOptions& options) {
  if (options.rule == IntRule::auto_round || options.rule == IntRule::auto_round_gptq) {
    return Dtype::f16;
  }
  return options.arithmetic == Arithmetic::f32 ? Dtype::f32 : Dtype::bf16;
}

Status quantize_integers(const WeightRows& rows, const IntOptions& options, uint8_t* codes,
                         float* scales, uint8_t* zeros) {
  MM2_RETURN_IF_ERROR(check(rows, options));
  if (!options.symmetric && zeros == nullptr) {
    return error(Code::invalid_argument, "codes that are not symmetric need a place for zeros");
  }
  return options.arithmetic == Arithmetic::f32
             ? quantize_rows<Arithmetic::f32>(rows, options, codes, scales, zeros)
             : quantize_rows<Arithmetic::bf16>(rows, options, codes, scales, zeros);
}

}  // namespace mm2
