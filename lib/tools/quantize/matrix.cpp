#include "tools/quantize/matrix.h"

#include <algorithm>

#include "base/checked.h"

namespace mm2 {
namespace {

// The type of codes that a rule makes.
CodeType codes_of(const QuantRecipe& recipe) {
  if (std::holds_alternative<IntOptions>(recipe.rule)) return CodeType::integer;
  if (std::holds_alternative<Nvfp4Options>(recipe.rule)) return CodeType::e2m1;
  if (const auto* mx = std::get_if<MxOptions>(&recipe.rule)) {
    return mx->bits == 4 ? CodeType::e2m1 : CodeType::e4m3;
  }
  return CodeType::e4m3;
}

// Elements of a group that a rule fixes, 0 where it does not.
int32_t fixed_group(const QuantRecipe& recipe) {
  if (std::holds_alternative<Nvfp4Options>(recipe.rule)) return kNvfp4Group;
  return std::holds_alternative<MxOptions>(recipe.rule) ? kMxGroup : 0;
}

Status check_kind(const QuantRecipe& recipe) {
  const Scheme& scheme = scheme_of(*recipe.dialect);
  bool fits = scheme.codes == codes_of(recipe) && scheme.group == fixed_group(recipe);
  if (const auto* nvfp4 = std::get_if<Nvfp4Options>(&recipe.rule)) {
    fits = fits && (nvfp4->rule == Nvfp4Rule::compressed_tensors) == scheme.global_scale_divides;
  }
  if (!fits) {
    return error(Code::invalid_argument, "this rule does not make the codes of ",
                 recipe.dialect->name);
  }
  if (recipe.gptq && !std::holds_alternative<IntOptions>(recipe.rule)) {
    return error(Code::invalid_argument, "GPTQ makes integers, ", recipe.dialect->name,
                 " holds none");
  }
  return {};
}

/// The rows in hand.
struct TileCodes {
  std::vector<float> weights, scales, back;
  std::vector<uint8_t> codes, zeros, scale_codes;
};

class Run {
 public:
  Run(const QuantRecipe& recipe, const PackSpec& spec, std::span<const PlannedPart> parts,
      const QuantContext& context, std::span<std::byte* const> memory, QuantFigures* figures)
      : recipe_(recipe),
        spec_(spec),
        parts_(parts),
        context_(context),
        memory_(memory),
        figures_(figures) {}

  Status run(const RowReader& read) {
    MM2_RETURN_IF_ERROR(find_global(read));
    if (recipe_.gptq && context_.hessian == nullptr) {
      return error(Code::invalid_argument, "GPTQ needs a Hessian");
    }
    if (recipe_.gptq) group_map_ = gptq_group_map(*context_.hessian, gptq_options());
    const int64_t step = tile_rows();
    for (int64_t first = 0; first < spec_.n_rows; first += step) {
      const int64_t n = std::min(step, spec_.n_rows - first);
      tile_.weights.resize(static_cast<size_t>(n * spec_.n_cols));
      MM2_RETURN_IF_ERROR(read(first, n, tile_.weights.data()));
      MM2_RETURN_IF_ERROR(quantize({tile_.weights.data(), n, spec_.n_cols, first}));
      const CodedRows rows = coded(first, n);
      MM2_RETURN_IF_ERROR(pack_rows(spec_, parts_, rows, memory_));
      if (figures_ != nullptr) gather(rows);
    }
    return {};
  }

 private:
  // Readers decode 64 rows at a time.
  int64_t tile_rows() const {
    constexpr int64_t kDecoded = 64;
    const int64_t step = row_step(spec_);
    return ceil_div(kDecoded, step) * step;
  }

  Status find_global(const RowReader& read) {
    const auto* nvfp4 = std::get_if<Nvfp4Options>(&recipe_.rule);
    if (nvfp4 == nullptr) return {};
    float largest = context_.shared_largest.value_or(0);
    const int64_t step = tile_rows();
    for (int64_t first = 0; !context_.shared_largest && first < spec_.n_rows; first += step) {
      const int64_t n = std::min(step, spec_.n_rows - first);
      tile_.weights.resize(static_cast<size_t>(n * spec_.n_cols));
      MM2_RETURN_IF_ERROR(read(first, n, tile_.weights.data()));
      MM2_ASSIGN_OR_RETURN(const float size,
                           largest_size({tile_.weights.data(), n, spec_.n_cols, first}));
      largest = std::max(largest, size);
    }
    global_ = nvfp4_global_scale(largest, *nvfp4);
    return {};
  }

  Status quantize(const WeightRows& rows) {
    const auto n_scales =
        static_cast<size_t>(ceil_div(rows.n_rows, spec_.patch_rows()) * spec_.n_patches());
    tile_.codes.resize(tile_.weights.size());
    if (const auto* integers = std::get_if<IntOptions>(&recipe_.rule)) {
      tile_.scales.resize(n_scales);
      tile_.zeros.resize(n_scales);
      if (recipe_.gptq) {
        return quantize_gptq(rows, *context_.hessian, gptq_options(), tile_.codes.data(),
                             tile_.scales.data(), tile_.zeros.data());
      }
      IntOptions options = *integers;
      options.imatrix = context_.imatrix;
      return quantize_integers(rows, options, tile_.codes.data(), tile_.scales.data(),
                               tile_.zeros.data());
    }
    if (std::holds_alternative<Fp8Options>(recipe_.rule)) {
      tile_.scales.resize(n_scales);
      Fp8Options options = std::get<Fp8Options>(recipe_.rule);
      options.block_rows = spec_.patch_rows();
      options.block_cols = spec_.patch_cols();
      return quantize_fp8(rows, options, tile_.codes.data(), tile_.scales.data());
    }
    tile_.scale_codes.resize(n_scales);
    if (const auto* mx = std::get_if<MxOptions>(&recipe_.rule)) {
      return quantize_mx(rows, *mx, tile_.codes.data(), tile_.scale_codes.data());
    }
    return quantize_nvfp4(rows, std::get<Nvfp4Options>(recipe_.rule), global_, tile_.codes.data(),
                          tile_.scale_codes.data());
  }

  GptqOptions gptq_options() const {
    GptqOptions options = *recipe_.gptq;
    options.bits = spec_.bits;
    options.symmetric = spec_.symmetric;
    options.group = spec_.patch_cols();
    return options;
  }

  CodedRows coded(int64_t first, int64_t n) const {
    CodedRows rows;
    rows.first_row = first;
    rows.n_rows = n;
    rows.codes = tile_.codes.data();
    if (!tile_.scales.empty()) rows.scales = tile_.scales.data();
    if (!tile_.scale_codes.empty()) rows.scale_codes = tile_.scale_codes.data();
    if (!spec_.symmetric) rows.zeros = tile_.zeros.data();
    if (!group_map_.empty()) rows.group_map = group_map_.data();
    rows.global = global_;
    return rows;
  }

  void gather(const CodedRows& rows) {
    tile_.back.resize(tile_.weights.size());
    dequantize_coded(spec_, rows, tile_.back.data());
    figures_->error.add_matrix(tile_.weights.data(), tile_.back.data(), rows.n_rows, spec_.n_cols,
                               spec_.patch_rows(), spec_.patch_cols());
    figures_->codes.add(count_codes(spec_, rows));
  }

  const QuantRecipe& recipe_;
  const PackSpec& spec_;
  const std::span<const PlannedPart> parts_;
  const QuantContext& context_;
  const std::span<std::byte* const> memory_;
  QuantFigures* const figures_;
  float global_ = 1;
  std::vector<int32_t> group_map_;
  TileCodes tile_;
};

}  // namespace

Result<PackSpec> recipe_spec(const QuantRecipe& recipe, int64_t n_rows, int64_t n_cols) {
  MM2_RETURN_IF_ERROR(check_kind(recipe));
  PackSpec spec{.dialect = recipe.dialect, .n_rows = n_rows, .n_cols = n_cols};
  spec.scale_dtype = recipe.scale_dtype;
  if (const auto* integers = std::get_if<IntOptions>(&recipe.rule)) {
    spec.bits = integers->bits;
    spec.group = integers->group;
    spec.symmetric = integers->symmetric;
    spec.ordered = recipe.ordered && recipe.gptq && recipe.gptq->rule == GptqRule::gptqmodel;
  }
  if (const auto* fp8 = std::get_if<Fp8Options>(&recipe.rule)) {
    spec.block_rows = fp8->block_rows == 0 ? std::max<int64_t>(1, n_rows) : fp8->block_rows;
    spec.block_cols = fp8->block_cols == 0 ? std::max<int64_t>(1, n_cols) : fp8->block_cols;
  }
  MM2_ASSIGN_OR_RETURN(const auto parts, plan_parts(spec));  // sizes that the layout cannot have
  static_cast<void>(parts);
  return spec;
}

Status quantize_matrix(const QuantRecipe& recipe, const PackSpec& spec,
                       std::span<const PlannedPart> parts, const RowReader& read,
                       const QuantContext& context, std::span<std::byte* const> memory,
                       QuantFigures* figures) {
  return Run(recipe, spec, parts, context, memory, figures).run(read);
}

}  // namespace mm2
