// mm2 tensor merge: the parents are the tensors, in order; FP8 ones are followed by their scales.
#include <algorithm>
#include <functional>

#include "tensor/convert.h"
#include "tools/merge/slab_merge.h"
#include "tools/option_reader.h"
#include "tools/quantize/quantize.h"
#include "tools/tensor_op.h"

namespace mm2 {
namespace {

constexpr int64_t kBlock = 128;

struct MergeParams {
  MergeRule rule;
  std::string name = "out";
  std::string dtype;         // empty: the base's, else the first parent's
  std::string scale_search;  // of fp8
  std::string arithmetic;
};

struct Parent {
  Dtype dtype;
  Shape shape;
  std::vector<float> values;
};

// "weight": one for each parent, or for each but the base.
Status per_parent(const OptionReader& reader, std::string_view name, int base, size_t n_parents,
                  const std::function<void(ParentParameters&, double)>& set,
                  std::vector<ParentParameters>& to) {
  const Json* json = reader.find(name);
  if (json == nullptr) return {};
  const Json list = json->is_array() ? *json : Json(n_parents, *json);
  const bool skips = base >= 0 && list.size() + 1 == n_parents;
  if (!skips && list.size() != n_parents) {
    return reader.wrong(name, join("has ", list.size(), " values for ", n_parents, " parents"));
  }
  size_t next = 0;
  for (size_t k = 0; k < n_parents; ++k) {
    if (skips && static_cast<int>(k) == base) continue;
    if (!list[next].is_number()) return reader.wrong(name, "must be numbers");
    set(to[k], list[next++].get<double>());
  }
  return {};
}

Status read_flags(const OptionReader& reader, MergeRule& rule) {
  for (const auto& [name, to] :
       {std::pair{"normalize", &rule.normalize}, std::pair{"rescale", &rule.rescale}}) {
    bool value = false;
    MM2_RETURN_IF_ERROR(reader.boolean(name, value));
    if (reader.find(name) != nullptr) *to = value;
  }
  bool columns = false, ignored = false;
  MM2_RETURN_IF_ERROR(reader.boolean("int8_mask", ignored));
  MM2_RETURN_IF_ERROR(reader.boolean("normalize_weights", rule.normalize_weights));
  for (const char* name : {"flatten", "nuslerp_flatten"})
    MM2_RETURN_IF_ERROR(reader.boolean(name, rule.flatten));
  for (const char* name : {"row_wise", "nuslerp_row_wise"})
    MM2_RETURN_IF_ERROR(reader.boolean(name, columns));
  rule.along_rows = !columns;
  return {};
}

Status read_numbers(const OptionReader& reader, MergeRule& rule) {
  constexpr double kLarge = 1e30;
  double t = 0;
  MM2_RETURN_IF_ERROR(reader.number("t", -kLarge, kLarge, t));
  if (reader.find("t") != nullptr) rule.t = t;
  MM2_RETURN_IF_ERROR(reader.number("lambda", -kLarge, kLarge, rule.lambda));
  MM2_RETURN_IF_ERROR(reader.number("scale", -kLarge, kLarge, rule.scale));
  MM2_RETURN_IF_ERROR(reader.number("select_topk", 0, 1, rule.select_topk));
  MM2_RETURN_IF_ERROR(reader.number("tol", 0, kLarge, rule.tolerance));
  MM2_RETURN_IF_ERROR(reader.integer("max_iter", 1, 10'000, rule.max_iterations));
  int64_t seed = 0;
  MM2_RETURN_IF_ERROR(reader.integer("seed", 0, INT64_MAX, seed));
  rule.seed = static_cast<uint64_t>(seed);
  return {};
}

Result<MergeParams> read_params(const Json& json, size_t n_parents) {
  static constexpr std::string_view kAllowed[] = {"method",      "t",
                                                  "base",        "weight",
                                                  "density",     "gamma",
                                                  "epsilon",     "normalize",
                                                  "rescale",     "lambda",
                                                  "scale",       "select_topk",
                                                  "tol",         "max_iter",
                                                  "flatten",     "nuslerp_flatten",
                                                  "row_wise",    "nuslerp_row_wise",
                                                  "int8_mask",   "seed",
                                                  "arithmetic",  "normalize_weights",
                                                  "name",        "dtype",
                                                  "scale_search"};
  static constexpr std::string_view kDtypes[] = {"F32", "F16", "BF16", "fp8"};
  static constexpr std::string_view kSearches[] = {"amax", "mse"};
  static constexpr std::string_view kArithmetics[] = {"f32", "bf16"};
  const OptionReader reader("merge", json);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  MergeParams to;
  std::string method;
  MM2_RETURN_IF_ERROR(reader.text("method", method));
  const auto known = merge_method_from_name(method);
  if (!known) return reader.wrong("method", join("there is no method \"", method, "\""));
  to.rule.method = *known;
  to.rule.parents.resize(n_parents);
  MM2_RETURN_IF_ERROR(
      reader.integer("base", -1, static_cast<int64_t>(n_parents) - 1, to.rule.base));
  MM2_RETURN_IF_ERROR(read_flags(reader, to.rule));
  MM2_RETURN_IF_ERROR(read_numbers(reader, to.rule));
  const auto numbers = [&](std::string_view name,
                           const std::function<void(ParentParameters&, double)>& set) {
    return per_parent(reader, name, to.rule.base, n_parents, set, to.rule.parents);
  };
  MM2_RETURN_IF_ERROR(numbers("weight", [](ParentParameters& p, double x) { p.weight = x; }));
  MM2_RETURN_IF_ERROR(numbers("density", [](ParentParameters& p, double x) { p.density = x; }));
  MM2_RETURN_IF_ERROR(numbers("gamma", [](ParentParameters& p, double x) { p.gamma = x; }));
  MM2_RETURN_IF_ERROR(numbers("epsilon", [](ParentParameters& p, double x) { p.epsilon = x; }));
  MM2_RETURN_IF_ERROR(reader.text("name", to.name));
  MM2_RETURN_IF_ERROR(reader.word("dtype", kDtypes, to.dtype));
  MM2_RETURN_IF_ERROR(reader.word("scale_search", kSearches, to.scale_search));
  MM2_RETURN_IF_ERROR(reader.word("arithmetic", kArithmetics, to.arithmetic));
  if (to.name.empty()) return reader.wrong("name", "must not be empty");
  return to;
}

// E4M3 and the scales of its blocks of 128 x 128.
Result<Parent> from_fp8(const NamedTensor& codes, const NamedTensor* scales) {
  const int64_t n_rows = codes.shape.n_rows(), n_cols = codes.shape.n_cols();
  const int64_t across = (n_cols + kBlock - 1) / kBlock;
  const Shape wanted = {(n_rows + kBlock - 1) / kBlock, across};
  if (codes.shape.rank() != 2 || scales == nullptr || scales->dtype != Dtype::f32 ||
      !(scales->shape == wanted)) {
    return error(Code::invalid_argument, "merge: ", codes.name, " ", codes.shape.to_string(),
                 " is F8_E4M3, the next tensor must be its scales, F32 ", wanted.to_string());
  }
  MM2_ASSIGN_OR_RETURN(const std::vector<float> scale, to_f32(*scales));
  Parent parent{Dtype::f8_e4m3, codes.shape, {}};
  parent.values.resize(static_cast<size_t>(n_rows * n_cols));
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t c = 0; c < n_cols; ++c) {
      const auto at = static_cast<size_t>(r * n_cols + c);
      parent.values[at] = e4m3_to_f32(static_cast<uint8_t>(codes.bytes[at])) *
                          scale[static_cast<size_t>(r / kBlock * across + c / kBlock)];
    }
  }
  return parent;
}

Result<std::vector<Parent>> read_parents(std::span<const NamedTensor> tensors) {
  std::vector<Parent> parents;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const NamedTensor& tensor = tensors[i];
    if (tensor.dtype == Dtype::f8_e4m3) {
      const NamedTensor* scales = i + 1 < tensors.size() ? &tensors[++i] : nullptr;
      MM2_ASSIGN_OR_RETURN(Parent parent, from_fp8(tensor, scales));
      parents.push_back(std::move(parent));
    } else {
      MM2_ASSIGN_OR_RETURN(std::vector<float> values, to_f32(tensor));
      parents.push_back({tensor.dtype, tensor.shape, std::move(values)});
    }
    if (!(parents.back().shape == parents[0].shape)) {
      return error(Code::invalid_argument, "merge: ", tensor.name, " is ", tensor.shape.to_string(),
                   ", ", tensors[0].name, " is ", parents[0].shape.to_string());
    }
  }
  return parents;
}

Status write_fp8(const MergeParams& params, const Shape& shape, const std::vector<float>& values,
                 TensorOpResult& result) {
  if (shape.rank() != 2)
    return error(Code::invalid_argument, "merge: ", shape.to_string(), " cannot become fp8 blocks");
  Fp8Options options;
  options.rule = params.scale_search == "amax" ? Fp8Rule::amax : Fp8Rule::mse;
  const Shape scale_shape = {(shape.n_rows() + kBlock - 1) / kBlock,
                             (shape.n_cols() + kBlock - 1) / kBlock};
  NamedTensor codes{params.name, Dtype::f8_e4m3, shape, {}};
  codes.bytes.resize(values.size());
  std::vector<float> scales(static_cast<size_t>(scale_shape.n_elements()));
  MM2_RETURN_IF_ERROR(quantize_fp8({values.data(), shape.n_rows(), shape.n_cols(), 0}, options,
                                   reinterpret_cast<uint8_t*>(codes.bytes.data()), scales.data()));
  result.tensors.push_back(std::move(codes));
  result.tensors.push_back(from_f32(params.name + "_scale_inv", Dtype::f32, scale_shape, scales));
  return {};
}

}  // namespace

Status merge_op(const Json& params_json, std::span<const NamedTensor> tensors,
                TensorOpResult& result) {
  MM2_ASSIGN_OR_RETURN(const std::vector<Parent> parents, read_parents(tensors));
  MM2_ASSIGN_OR_RETURN(MergeParams params, read_params(params_json, parents.size()));
  const bool all_bf16 = std::all_of(parents.begin(), parents.end(),
                                    [](const Parent& p) { return p.dtype == Dtype::bf16; });
  if (params.arithmetic == "bf16" || (params.arithmetic.empty() && all_bf16))
    params.rule.arithmetic = MergeArithmetic::bf16;
  std::vector<const float*> at;
  for (const Parent& parent : parents) at.push_back(parent.values.data());
  const Parent& lead = parents[static_cast<size_t>(std::max(0, params.rule.base))];
  std::vector<float> out(lead.values.size());
  MM2_ASSIGN_OR_RETURN(SlabMerge merge, SlabMerge::make(params.rule, params.name, lead.shape));
  const MergeSlab all{0, merge.n_rows(), at};
  while (merge.wants_scan()) {
    MM2_RETURN_IF_ERROR(merge.scan(all));
    MM2_RETURN_IF_ERROR(merge.end_scan());
  }
  MM2_RETURN_IF_ERROR(merge.apply(all, out.data()));
  const MergeFacts facts = merge.facts();
  if (facts.cosine != 0 || facts.arc) {
    result.figures["cosine"] = facts.cosine;
    result.figures["branch"] = facts.arc ? "spherical" : "linear";
  }
  if (!facts.coefficients.empty()) result.figures["coefficients"] = facts.coefficients;
  const bool fp8 = params.dtype == "fp8" || (params.dtype.empty() && lead.dtype == Dtype::f8_e4m3);
  if (fp8) return write_fp8(params, lead.shape, out, result);
  // Parents of several types meet in the widest, as numbers that are added up do.
  Dtype dtype = lead.dtype;
  for (const Parent& parent : parents) {
    if (parent.dtype != dtype) dtype = Dtype::f32;
  }
  if (dtype == Dtype::f64) dtype = Dtype::f32;
  if (!params.dtype.empty()) dtype = *dtype_from_name(params.dtype);
  result.tensors.push_back(from_f32(params.name, dtype, lead.shape, out));
  return {};
}

}  // namespace mm2
