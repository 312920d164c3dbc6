// `mm2 tensor quantize|dequantize|repack`: matrices between numbers and the layouts of
// tools/quantize/pack.h. A matrix STEM.weight (or any other name) becomes tensors STEM.SUFFIX as they
// are called on disk, and the other way round.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "quant/scheme_parts.h"
#include "tools/option_reader.h"
#include "tools/quant_recipe.h"
#include "tools/quantize/repack.h"
#include "tools/tensor_op.h"

namespace mm2 {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string stem_of(const std::string& name, std::string_view suffix) {
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

const NamedTensor* find(std::span<const NamedTensor> tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

Json to_json(const QuantFigures& figures) {
  const ErrorReport r = figures.error.report();
  const auto number = [](const std::optional<double>& x) { return x ? Json(*x) : Json(nullptr); };
  return {{"cosine", r.cosine},
          {"one_minus_cosine", r.one_minus_cosine},
          {"relative_l2", r.relative_l2},
          {"norm_ratio", number(r.norm_ratio)},
          {"largest_error", r.largest_error},
          {"sqnr_db", number(r.sqnr_db)},
          {"block_relative_l2",
           {{"p50", r.block_p50},
            {"p90", r.block_p90},
            {"p99", r.block_p99},
            {"largest", r.block_largest}}},
          {"blocks", r.n_blocks},
          {"zero_blocks", r.n_zero_blocks},
          {"codes",
           {{"all", figures.codes.n},
            {"saturated", figures.codes.n_saturated},
            {"zero", figures.codes.n_zero},
            {"subnormal", figures.codes.n_subnormal}}}};
}

// ---- quantize

/// A matrix in memory.
struct Weights {
  std::string stem;
  std::vector<float> values;
  int64_t n_rows, n_cols;
};

Result<Weights> weights_of(const NamedTensor& tensor) {
  if (tensor.shape.rank() != 2) {
    return error(Code::invalid_argument, "tensor ", tensor.name, " has shape ",
                 tensor.shape.to_string(), ", wanted is a matrix");
  }
  MM2_ASSIGN_OR_RETURN(auto values, to_f32(tensor));
  return Weights{stem_of(tensor.name, kWeight), std::move(values), tensor.shape[0],
                 tensor.shape[1]};
}

/// Matrices quantised with one recipe.
class Quantizing {
 public:
  Quantizing(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result)
      : params_(params), tensors_(tensors), reader_("tensor quantize", params), result_(result) {}

  Status run() {
    std::vector<std::string_view> names(quant_recipe_names().begin(), quant_recipe_names().end());
    names.insert(names.end(), {"imatrix", "hessian", "share_scale"});
    MM2_RETURN_IF_ERROR(reader_.check_names(names));
    MM2_ASSIGN_OR_RETURN(choice_, read_quant_recipe("tensor quantize", params_));
    MM2_RETURN_IF_ERROR(take_calibration());
    std::vector<Weights> all;
    for (const NamedTensor& tensor : tensors_) {
      if (tensor.name == imatrix_name_ || tensor.name == hessian_name_) continue;
      MM2_ASSIGN_OR_RETURN(auto weights, weights_of(tensor));
      all.push_back(std::move(weights));
    }
    bool share = false;
    MM2_RETURN_IF_ERROR(reader_.boolean("share_scale", share));
    for (const Weights& w : all) {
      if (!share) break;
      MM2_ASSIGN_OR_RETURN(const float size,
                           largest_size({w.values.data(), w.n_rows, w.n_cols, 0}));
      context_.shared_largest = std::max(context_.shared_largest.value_or(0), size);
    }
    for (const Weights& w : all) MM2_RETURN_IF_ERROR(quantize(w).in(w.stem));
    return {};
  }

 private:
  // The values of the tensor that a parameter names.
  Status named(std::string_view param, std::string& name, std::vector<float>& values) {
    MM2_RETURN_IF_ERROR(reader_.text(param, name));
    if (name.empty()) return {};
    const NamedTensor* const tensor = find(tensors_, name);
    if (tensor == nullptr) return reader_.wrong(param, "must be among the tensors");
    MM2_ASSIGN_OR_RETURN(values, to_f32(*tensor));
    return {};
  }

  Status take_calibration() {
    if (choice_.awq) {
      return reader_.wrong("algo", "must not be awq: its scales are folded into other tensors");
    }
    MM2_RETURN_IF_ERROR(named("imatrix", imatrix_name_, imatrix_));
    MM2_RETURN_IF_ERROR(named("hessian", hessian_name_, hessian_));
    if (choice_.recipe.gptq && hessian_name_.empty()) {
      return reader_.wrong("hessian", "must name a tensor with algo gptq");
    }
    if (!choice_.recipe.gptq || hessian_name_.empty()) return {};
    const int64_t n = find(tensors_, hessian_name_)->shape.n_cols();
    MM2_ASSIGN_OR_RETURN(factor_, factor_hessian(hessian_, n, choice_.hessian));
    context_.hessian = &factor_;
    return {};
  }

  Status quantize(const Weights& w) {
    if (!imatrix_.empty() && static_cast<int64_t>(imatrix_.size()) != w.n_cols) {
      return error(Code::invalid_argument, imatrix_name_, " has ", imatrix_.size(),
                   " numbers, the matrix ", w.n_cols, " columns");
    }
    context_.imatrix = imatrix_.empty() ? nullptr : imatrix_.data();
    MM2_ASSIGN_OR_RETURN(const PackSpec spec, recipe_spec(choice_.recipe, w.n_rows, w.n_cols));
    MM2_ASSIGN_OR_RETURN(const auto parts, plan_parts(spec));
    std::vector<std::byte*> memory;
    const size_t first = result_.tensors.size();
    for (const PlannedPart& part : parts) {
      result_.tensors.push_back({w.stem + part.suffix, part.dtype, part.shape, {}});
      result_.tensors.back().bytes.resize(part.bytes);
    }
    for (size_t i = first; i < result_.tensors.size(); ++i) {
      memory.push_back(result_.tensors[i].bytes.data());
    }
    const RowReader read = [&](int64_t row, int64_t n, float* to) {
      std::copy_n(w.values.data() + row * w.n_cols, n * w.n_cols, to);
      return Status();
    };
    QuantFigures figures;
    MM2_RETURN_IF_ERROR(
        quantize_matrix(choice_.recipe, spec, parts, read, context_, memory, &figures));
    result_.figures[w.stem] = to_json(figures);
    if (choice_.recipe.gptq) result_.figures[w.stem]["damp"] = factor_.damp;
    return {};
  }

  const Json& params_;
  const std::span<const NamedTensor> tensors_;
  const OptionReader reader_;
  TensorOpResult& result_;
  RecipeChoice choice_;
  std::string imatrix_name_, hessian_name_;
  std::vector<float> imatrix_, hessian_;
  HessianFactor factor_;
  QuantContext context_;
};

// ---- matrices as they are stored

struct StoredMatrix {
  std::string stem;
  PackSpec spec;
  std::vector<StoredPart> parts;
  std::vector<std::string> remarks;
};

/// Recognises the tensors of matrices in a layout that the caller names.
class Collector {
 public:
  Collector(const Dialect& dialect, std::span<const NamedTensor> tensors, int bits)
      : dialect_(dialect), scheme_(scheme_of(dialect)), tensors_(tensors), bits_(bits) {}

  Result<std::vector<StoredMatrix>> run() {
    std::vector<StoredMatrix> all;
    const Part& codes = scheme_.parts[0];
    for (const NamedTensor& tensor : tensors_) {
      if (!tensor.name.ends_with(codes.suffix) || !holds(codes.dtypes, tensor.dtype)) continue;
      MM2_ASSIGN_OR_RETURN(auto matrix, collect(tensor));
      all.push_back(std::move(matrix));
    }
    if (all.empty()) {
      return error(Code::invalid_argument, "no tensor is called ...", codes.suffix,
                   ", which holds the codes of ", dialect_.name);
    }
    return all;
  }

 private:
  Result<StoredMatrix> collect(const NamedTensor& codes) {
    StoredMatrix m;
    m.stem = stem_of(codes.name, scheme_.parts[0].suffix);
    m.spec.dialect = &dialect_;
    m.spec.bits = bits_;
    m.spec.symmetric = true;
    MM2_RETURN_IF_ERROR(take_sizes(codes, m));
    for (const Part& part : scheme_.parts) {
      const NamedTensor* const tensor = find(tensors_, m.stem + std::string(part.suffix));
      if (tensor == nullptr) {
        if (!part.required) continue;
        return error(Code::invalid_argument, m.stem, part.suffix, " is missing");
      }
      MM2_RETURN_IF_ERROR(take(part, *tensor, m));
    }
    MM2_RETURN_IF_ERROR(plan_parts(m.spec).status());  // widths and sizes that the layout has
    return m;
  }

  // Rows and columns from the codes, the group from the scales.
  Status take_sizes(const NamedTensor& codes, StoredMatrix& m) const {
    if (codes.shape.rank() != 2) return wrong(codes, "a matrix");
    const int64_t a = codes.shape[0], b = codes.shape[1];
    const int64_t per_word = 32 / bits_;
    std::optional<int64_t> rows = a, cols = b;
    if (scheme_.packing == Packing::nibbles) cols = checked_mul<int64_t>(b, 2);
    if (scheme_.packing == Packing::gptq) rows = b, cols = checked_mul(a, per_word);
    if (scheme_.packing == Packing::awq) rows = checked_mul<int64_t>(b, 8), cols = a;
    if (scheme_.packing == Packing::dense_words) {
      cols = checked_mul<int64_t>(b, 32);
      if (cols) *cols /= bits_;
    }
    if (!rows || !cols) return wrong(codes, "smaller");
    if (scheme_.packing == Packing::dense_words) cols = said_cols(m, *rows).value_or(*cols);
    m.spec.n_rows = *rows;
    m.spec.n_cols = *cols;
    const NamedTensor* const scales = find(tensors_, m.stem + std::string(scale_part().suffix));
    m.spec.group = 0;
    if (scales == nullptr || scales->shape.rank() != 2) return {};
    const int64_t n_groups =
        scales->shape[scale_part().extents[0] == Extent::cols_by_group ? 0 : 1];
    if (n_groups > 0 && *cols % n_groups == 0) m.spec.group = *cols / n_groups;
    return {};
  }

  // Columns by the stored shape, where there is one that fits the rows: the last word may be padded.
  std::optional<int64_t> said_cols(const StoredMatrix& m, int64_t rows) const {
    const NamedTensor* const shape = find(tensors_, m.stem + ".weight_shape");
    if (shape == nullptr || shape->bytes.size() != 2 * sizeof(int64_t)) return {};
    int64_t extents[2];
    std::memcpy(extents, shape->bytes.data(), sizeof extents);
    const bool fits = extents[0] == rows && extents[1] >= 0 && extents[1] <= INT32_MAX;
    return fits ? std::optional(extents[1]) : std::nullopt;
  }

  const Part& scale_part() const {
    return *std::find_if(scheme_.parts.begin(), scheme_.parts.end(),
                         [](const Part& part) { return part.kind == PartKind::scale; });
  }

  Status take(const Part& part, const NamedTensor& tensor, StoredMatrix& m) const {
    if (!holds(part.dtypes, tensor.dtype)) {
      return error(Code::invalid_argument, tensor.name, " is ", dtype_name(tensor.dtype),
                   ", wanted is ", dtype_list(part.dtypes));
    }
    PartSizes sizes{m.spec.n_rows, m.spec.n_cols, bits_, m.spec.patch_cols()};
    sizes.block_rows = m.spec.block_rows;
    sizes.block_cols = m.spec.block_cols;
    const Shape wanted = part_shape(part, sizes);
    const bool scalar = part.any_scalar && tensor.shape.rank() == 0;
    if (tensor.shape != wanted && !scalar) return wrong(tensor, wanted.to_string());
    if (part.kind == PartKind::scale) m.spec.scale_dtype = tensor.dtype;
    if (part.kind == PartKind::zero) m.spec.symmetric = false;
    if (part.kind == PartKind::group_map) m.spec.ordered = true;
    if (part.kind == PartKind::unused) {
      if (scheme_.codes != CodeType::e2m1) return {};  // of activations, not carried along here
      m.spec.has_input_scale = true;
    }
    m.parts.push_back({part.kind, tensor.dtype, tensor.bytes.data()});
    return {};
  }

  static Status wrong(const NamedTensor& tensor, const std::string& wanted) {
    return error(Code::invalid_argument, tensor.name, ": shape is ", tensor.shape.to_string(),
                 ", must be ", wanted);
  }

  const Dialect& dialect_;
  const Scheme& scheme_;
  const std::span<const NamedTensor> tensors_;
  const int bits_;
};

/// What dequantize and repack have in common.
struct StoredReader {
  OptionReader reader;
  std::string_view format_name;  // of the parameter with the layout as it is
  std::span<const NamedTensor> tensors;
  V1Zeros v1_zeros = V1Zeros::refuse;

  Result<std::vector<StoredMatrix>> matrices() {
    std::string format, zeros = "refuse";
    int32_t bits = 4;
    static constexpr std::string_view kZeros[] = {"refuse", "words", "fields"};
    MM2_RETURN_IF_ERROR(reader.text(format_name, format));
    MM2_RETURN_IF_ERROR(reader.integer("bits", 1, 8, bits));
    MM2_RETURN_IF_ERROR(reader.word("v1_zeros", kZeros, zeros));
    if (zeros != "refuse") v1_zeros = zeros == "words" ? V1Zeros::words : V1Zeros::fields;
    const auto dialect = named_dialect(format);
    if (!dialect.ok())
      return reader.wrong(format_name, "must be a layout; " + dialect.status().message());
    return Collector(**dialect, tensors, bits).run();
  }

  // The codes; what the zeros and the map say about the matrix goes into its spec.
  Result<CodedWhole> unpack(StoredMatrix& m) const {
    MM2_ASSIGN_OR_RETURN(auto coded, unpack_matrix(m.spec, m.parts, v1_zeros, m.remarks));
    const auto middle = static_cast<uint8_t>(1 << (m.spec.bits - 1));
    m.spec.symmetric = std::all_of(coded.zeros.begin(), coded.zeros.end(),
                                   [=](uint8_t zero) { return zero == middle; });
    if (m.spec.symmetric) coded.zeros.clear();
    m.spec.ordered = !coded.group_map.empty();
    return coded;
  }
};

Status repack_one(const StoredReader& stored, StoredMatrix& m, const Dialect& to,
                  const RepackOptions& options, TensorOpResult& result) {
  PackSpec known = m.spec;  // what is known before zeros and map are read
  known.ordered = false;
  MM2_RETURN_IF_ERROR(plan_repack(known, to, options).status());
  MM2_ASSIGN_OR_RETURN(auto coded, stored.unpack(m));
  MM2_ASSIGN_OR_RETURN(const PackSpec spec, plan_repack(m.spec, to, options));
  MM2_RETURN_IF_ERROR(repack(m.spec, spec, options, coded, m.remarks));
  MM2_ASSIGN_OR_RETURN(const auto parts, plan_parts(spec));
  std::vector<std::byte*> memory;
  const size_t first = result.tensors.size();
  for (const PlannedPart& part : parts) {
    result.tensors.push_back({m.stem + part.suffix, part.dtype, part.shape, {}});
    result.tensors.back().bytes.resize(part.bytes);
  }
  for (size_t i = first; i < result.tensors.size(); ++i) {
    memory.push_back(result.tensors[i].bytes.data());
  }
  MM2_RETURN_IF_ERROR(pack_rows(spec, parts, coded.rows(spec.n_rows), memory));
  result.figures[m.stem] = {{"remarks", m.remarks}};
  return {};
}

}  // namespace

Status quantize_op(const Json& params, std::span<const NamedTensor> tensors,
                   TensorOpResult& result) {
  return Quantizing(params, tensors, result).run();
}

Status dequantize_op(const Json& params, std::span<const NamedTensor> tensors,
                     TensorOpResult& result) {
  static constexpr std::string_view kNames[] = {"format", "bits", "v1_zeros", "dtype"};
  static constexpr std::string_view kTypes[] = {"F32", "BF16", "F16"};
  StoredReader stored{OptionReader("tensor dequantize", params), "format", tensors};
  MM2_RETURN_IF_ERROR(stored.reader.check_names(kNames));
  std::string dtype = "F32";
  MM2_RETURN_IF_ERROR(stored.reader.word("dtype", kTypes, dtype));
  MM2_ASSIGN_OR_RETURN(auto matrices, stored.matrices());
  for (StoredMatrix& m : matrices) {
    auto coded = stored.unpack(m);
    if (!coded.ok()) return Status(coded.status()).in(m.stem);
    std::vector<float> numbers(static_cast<size_t>(m.spec.n_rows * m.spec.n_cols));
    dequantize_coded(m.spec, coded->rows(m.spec.n_rows), numbers.data());
    result.tensors.push_back(from_f32(m.stem + std::string(kWeight),
                                      dtype_from_name(dtype).value_or(Dtype::f32),
                                      Shape{m.spec.n_rows, m.spec.n_cols}, numbers));
    result.figures[m.stem] = {{"remarks", m.remarks}};
  }
  return {};
}

Status repack_op(const Json& params, std::span<const NamedTensor> tensors, TensorOpResult& result) {
  static constexpr std::string_view kNames[] = {
      "from",        "format",           "bits",           "v1_zeros", "sym", "group",
      "scale_dtype", "may_round_scales", "positive_scales"};
  static constexpr std::string_view kTypes[] = {"F32", "BF16", "F16"};
  StoredReader stored{OptionReader("tensor repack", params), "from", tensors};
  MM2_RETURN_IF_ERROR(stored.reader.check_names(kNames));
  std::string format, dtype;
  RepackOptions options;
  bool symmetric = true;
  MM2_RETURN_IF_ERROR(stored.reader.text("format", format));
  const auto to = named_dialect(format);
  if (!to.ok()) return stored.reader.wrong("format", "must be a layout; " + to.status().message());
  MM2_RETURN_IF_ERROR(stored.reader.boolean("sym", symmetric));
  if (stored.reader.find("sym") != nullptr) options.symmetric = symmetric;
  MM2_RETURN_IF_ERROR(stored.reader.integer("group", 0, INT32_MAX, options.group));
  MM2_RETURN_IF_ERROR(stored.reader.word("scale_dtype", kTypes, dtype));
  if (!dtype.empty()) options.scale_dtype = dtype_from_name(dtype);
  MM2_RETURN_IF_ERROR(stored.reader.boolean("may_round_scales", options.may_round_scales));
  MM2_RETURN_IF_ERROR(stored.reader.boolean("positive_scales", options.positive_scales));
  MM2_ASSIGN_OR_RETURN(auto matrices, stored.matrices());
  options.v1_zeros = stored.v1_zeros;
  for (StoredMatrix& m : matrices) {
    MM2_RETURN_IF_ERROR(repack_one(stored, m, **to, options, result).in(m.stem));
  }
  return {};
}

}  // namespace mm2
