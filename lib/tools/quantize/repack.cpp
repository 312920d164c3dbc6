#include "tools/quantize/repack.h"

#include <algorithm>
#include <cmath>

#include "tensor/convert.h"

namespace mm2 {
namespace {

std::string_view codes_name(CodeType codes) {
  switch (codes) {
    case CodeType::integer:
      return "integers";
    case CodeType::e2m1:
      return "E2M1 codes";
    case CodeType::e4m3:
      return "E4M3 codes";
    case CodeType::plain:
      break;
  }
  return "numbers";
}

// What the table of layouts alone rules out.
Status check_kinds(const Dialect& from, const Dialect& to) {
  const Scheme &a = scheme_of(from), &b = scheme_of(to);
  constexpr std::string_view kAgain = "; only quantizing again makes one of the other";
  if (a.codes != b.codes) {
    return error(Code::unsupported, from.name, " holds ", codes_name(a.codes), " and ", to.name,
                 " ", codes_name(b.codes), ", which lie on different grids", kAgain);
  }
  if (a.granularity != b.granularity || a.group != b.group) {
    return error(Code::unsupported, "in ", from.name, " and ", to.name,
                 " different weights share a scale", kAgain);
  }
  return {};
}

bool fits_exactly(Dtype dtype, float scale) {
  if (dtype == Dtype::f16) return f16_to_f32(f32_to_f16(scale)) == scale;
  if (dtype == Dtype::bf16) return bf16_to_f32(f32_to_bf16(scale)) == scale;
  return true;
}

bool takes_f16_only(const Dialect& dialect) {
  return scheme_of(dialect).codes == CodeType::integer && !dialect.open_scale_dtype;
}

/// One matrix on its way.
class Repacker {
 public:
  Repacker(const PackSpec& from, const PackSpec& to, const RepackOptions& options,
           CodedWhole& coded, std::vector<std::string>& remarks)
      : from_(from), to_(to), options_(options), coded_(coded), remarks_(remarks) {}

  Status run() {
    if (!to_.ordered && !coded_.group_map.empty()) {
      return error(Code::unsupported, "the map of columns to groups is not column / ",
                   from_.patch_cols(), ", although columns are said not to be ordered");
    }
    if (to_.is_integer()) {
      MM2_RETURN_IF_ERROR(settle_zeros());
      MM2_RETURN_IF_ERROR(regroup());
    }
    MM2_RETURN_IF_ERROR(check_scales());
    return settle_global();
  }

 private:
  // Zeros of n_patches of each row, by row and patch.
  Status settle_zeros() {
    const auto middle = static_cast<uint8_t>(1 << (from_.bits - 1));
    const int64_t n_patches = from_.n_patches();
    if (!to_.symmetric && coded_.zeros.empty()) {
      coded_.zeros.assign(static_cast<size_t>(from_.n_rows * n_patches), middle);
    }
    for (size_t i = 0; to_.symmetric && i < coded_.zeros.size(); ++i) {
      if (coded_.zeros[i] == middle) continue;
      const auto at = static_cast<int64_t>(i);
      return error(Code::unsupported, "the zero of row ", at / n_patches, ", group ",
                   at % n_patches, " is ", static_cast<int>(coded_.zeros[i]),
                   "; symmetric codes have ", static_cast<int>(middle),
                   ", so only quantizing again makes them symmetric");
    }
    if (to_.symmetric) coded_.zeros.clear();
    const bool borrows =
        to_.dialect->stored_zero_minus_one &&
        std::find(coded_.zeros.begin(), coded_.zeros.end(), 0) != coded_.zeros.end();
    if (borrows) {
      remarks_.push_back(
          "some zeros are 0: stored less one as tools do it, by whole words, which readers that "
          "add 1 to each field on its own misread");
    }
    return {};
  }

  // Smaller groups repeat scales and zeros; larger ones need equal ones.
  Status regroup() {
    const int64_t old_group = from_.patch_cols(), group = to_.patch_cols();
    if (old_group == group) return {};
    const int64_t n_old = from_.n_patches(), n_new = to_.n_patches();
    std::vector<float> scales(static_cast<size_t>(to_.n_rows * n_new));
    std::vector<uint8_t> zeros(coded_.zeros.empty() ? 0 : scales.size());
    for (int64_t r = 0; r < to_.n_rows; ++r) {
      for (int64_t c = 0; c < to_.n_cols; c += std::min(old_group, group)) {
        const auto was = static_cast<size_t>(r * n_old + c / old_group);
        const auto is = static_cast<size_t>(r * n_new + c / group);
        const bool first = c % group == 0;
        const bool same = first || (scales[is] == coded_.scales[was] &&
                                    (zeros.empty() || zeros[is] == coded_.zeros[was]));
        if (!same) {
          return error(Code::unsupported, "row ", r, ", columns from ", c / group * group,
                       ": groups of ", old_group,
                       " have different scales or zeros, so they make "
                       "no group of ",
                       group);
        }
        scales[is] = coded_.scales[was];
        if (!zeros.empty()) zeros[is] = coded_.zeros[was];
      }
    }
    coded_.scales = std::move(scales);
    coded_.zeros = std::move(zeros);
    return {};
  }

  Status check_scales() const {
    const Dtype dtype = takes_f16_only(*to_.dialect)    ? Dtype::f16
                        : to_.dialect->open_scale_dtype ? to_.scale_dtype
                                                        : Dtype::f32;
    const int64_t n_patches = to_.n_patches();
    for (size_t i = 0; i < coded_.scales.size(); ++i) {
      const float scale = coded_.scales[i];
      const auto at = static_cast<int64_t>(i);
      const std::string place = join("the scale of row ", at / n_patches * to_.patch_rows(),
                                     ", group ", at % n_patches, " is ", scale);
      if (scale < 0 && options_.positive_scales) {
        return error(Code::unsupported, place,
                     "; no positive one says the same, since the lowest code has no negative");
      }
      if (options_.may_round_scales || fits_exactly(dtype, scale)) continue;
      return error(Code::unsupported, place, ", which ", dtype_name(dtype),
                   " cannot hold exactly; allow rounding or keep the type where ",
                   to_.dialect->name, " lets you");
    }
    return {};
  }

  Status invert(float& x, std::string_view what) {
    const float inverse = 1.0f / x;
    if (!std::isfinite(inverse) || !(inverse > 0)) {
      return error(Code::unsupported, what, " is ", x, ", its inverse is ", inverse,
                   ", must be above 0 and finite");
    }
    if (1.0f / inverse != x) {
      remarks_.push_back(join(what, " ", x, " is written as its inverse ", inverse,
                              ", whose inverse is ", 1.0f / inverse,
                              ": the way back does not restore it bit for bit"));
    }
    x = inverse;
    return {};
  }

  // ModelOpt multiplies by what compressed-tensors divides by.
  Status settle_global() {
    const Scheme &a = scheme_of(*from_.dialect), &b = scheme_of(*to_.dialect);
    if (a.global_scale_divides == b.global_scale_divides) return {};
    if (to_.has_input_scale) MM2_RETURN_IF_ERROR(invert(coded_.input_scale, "input scale"));
    return invert(coded_.global, "global scale");
  }

  const PackSpec &from_, &to_;
  const RepackOptions& options_;
  CodedWhole& coded_;
  std::vector<std::string>& remarks_;
};

}  // namespace

Result<PackSpec> plan_repack(const PackSpec& from, const Dialect& to,
                             const RepackOptions& options) {
  MM2_RETURN_IF_ERROR(check_kinds(*from.dialect, to));
  PackSpec spec = from;
  spec.dialect = &to;
  spec.symmetric = options.symmetric.value_or(from.symmetric);
  if (options.group != 0 && from.is_integer()) spec.group = options.group;
  if (options.scale_dtype) spec.scale_dtype = *options.scale_dtype;
  if (takes_f16_only(to)) spec.scale_dtype = Dtype::f16;
  if (from.ordered && spec.patch_cols() != from.patch_cols()) {
    return error(Code::unsupported, "columns are ordered by activation: their groups of ",
                 from.patch_cols(), " cannot become groups of ", spec.patch_cols());
  }
  const int64_t a = from.patch_cols(), b = spec.patch_cols();
  if (a % b != 0 && b % a != 0) {
    return error(Code::unsupported, "groups of ", a, " and of ", b, " do not fit into each other");
  }
  MM2_ASSIGN_OR_RETURN(const auto parts, plan_parts(spec));  // sizes that the layout cannot have
  static_cast<void>(parts);
  return spec;
}

Status repack(const PackSpec& from, const PackSpec& to, const RepackOptions& options,
              CodedWhole& coded, std::vector<std::string>& remarks) {
  if (to.ordered && to.dialect->scheme == "ct_packed") {
    remarks.push_back("weight_g_idx is for older readers: compressed-tensors no longer reads it");
  }
  const auto parts = to.dialect->parts;
  const bool takes_scale = std::any_of(parts.begin(), parts.end(), [](const DialectPart& part) {
    return part.written == Written::with_input_scale;
  });
  if (from.has_input_scale && !takes_scale) {
    remarks.push_back("the scale of activations is left out");
  }
  return Repacker(from, to, options, coded, remarks).run();
}

}  // namespace mm2
