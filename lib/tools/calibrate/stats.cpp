#include "tools/calibrate/stats.h"

#include <cmath>
#include <cstring>

#include "tools/stream/hash.h"

namespace mm2 {
namespace {

class Collected {
 public:
  explicit Collected(int32_t layer) : prefix_(join("layers.", layer, ".")) {}

  template <typename T>
  void add(const std::string& name, Dtype dtype, Shape shape, std::span<const T> values) {
    StatTensor& tensor = tensors_.emplace_back();
    tensor.head = {prefix_ + name, dtype, std::move(shape)};
    tensor.bytes.resize(values.size_bytes());
    std::memcpy(tensor.bytes.data(), values.data(), values.size_bytes());
  }

  void add_experts(const LayerSaliency& experts) {
    const int64_t n = experts.n_experts();
    std::vector<int64_t> tokens;
    std::vector<double> values[6];
    for (int32_t e = 0; e < experts.n_experts(); ++e) {
      const ExpertTotals& t = experts.expert(e);
      tokens.push_back(static_cast<int64_t>(t.n_tokens));
      values[0].push_back(t.weight.value());
      values[1].push_back(t.norm.value());
      values[2].push_back(t.weighted_norm.value());
      values[3].push_back(t.weighted_square.value());
      values[4].push_back(t.largest_norm);
      values[5].push_back(t.n_tokens == 0 ? 0 : t.largest_activation);
    }
    const auto all = static_cast<int64_t>(experts.n_tokens());
    add<int64_t>("tokens", Dtype::i64, {1}, std::span(&all, 1));
    add<int64_t>("expert_tokens", Dtype::i64, {n}, tokens);
    static constexpr const char* kNames[] = {"weight_sum",        "norm_sum",
                                             "weighted_norm_sum", "weighted_square_sum",
                                             "largest_norm",      "largest_activation"};
    for (int i = 0; i < 6; ++i) add<double>(kNames[i], Dtype::f64, {n}, values[i]);
  }

  // One input, or one for each expert.
  void add_inputs(const std::string& name, std::span<const InputSums> inputs, bool of_experts,
                  const CollectOptions& options) {
    const auto shape = [&](std::initializer_list<int64_t> one) {
      std::vector<int64_t> extents(one);
      if (of_experts) extents.insert(extents.begin(), static_cast<int64_t>(inputs.size()));
      if (extents.empty()) extents.push_back(1);
      return *Shape::make(extents);
    };
    std::vector<double> squares, sizes;
    std::vector<float> amax, hessian;
    for (const InputSums& in : inputs) {
      squares.insert(squares.end(), in.squares().begin(), in.squares().end());
      sizes.insert(sizes.end(), in.sizes().begin(), in.sizes().end());
      hessian.insert(hessian.end(), in.hessian().begin(), in.hessian().end());
      amax.push_back(in.amax());
    }
    const int64_t width = inputs.front().width();
    if (options.imatrix) add<double>(name + ".squares", Dtype::f64, shape({width}), squares);
    if (options.imatrix) add<double>(name + ".sizes", Dtype::f64, shape({width}), sizes);
    if (options.amax) add<float>(name + ".amax", Dtype::f32, shape({}), amax);
    if (options.hessian) add<float>(name + ".hessian", Dtype::f32, shape({width, width}), hessian);
  }

  std::vector<StatTensor> take() { return std::move(tensors_); }

 private:
  std::string prefix_;
  std::vector<StatTensor> tensors_;
};

}  // namespace

std::vector<StatTensor> stat_tensors(int32_t layer, const LayerObservation& seen,
                                     const CollectOptions& options) {
  Collected collected(layer);
  collected.add_experts(seen.experts);
  collected.add_inputs("attention_in", {&seen.attention_in, 1}, false, options);
  collected.add_inputs("o_in", {&seen.o_in, 1}, false, options);
  collected.add_inputs("w1_in", seen.w1_in, true, options);
  collected.add_inputs("w2_in", seen.w2_in, true, options);
  if (options.kv) {
    const auto n = static_cast<int64_t>(seen.k_amax.size());
    collected.add<float>("k_amax", Dtype::f32, {n}, seen.k_amax);
    collected.add<float>("v_amax", Dtype::f32, {n}, seen.v_amax);
  }
  return collected.take();
}

Status write_stats(const std::string& path, std::span<const StatTensor> tensors,
                   const SafetensorsMetadata& metadata) {
  std::vector<OutputTensor> heads;
  for (const StatTensor& tensor : tensors) heads.push_back(tensor.head);
  MM2_ASSIGN_OR_RETURN(const auto writer,
                       SafetensorsWriter::create(path, std::move(heads), metadata));
  for (const StatTensor& tensor : tensors) {
    MM2_RETURN_IF_ERROR(writer->append(tensor.bytes.data(), tensor.bytes.size()));
  }
  return writer->publish();
}

Result<std::shared_ptr<CalibrationStats>> CalibrationStats::open(const std::string& path,
                                                                 const Host& host) {
  std::shared_ptr<CalibrationStats> stats(new CalibrationStats);
  MM2_ASSIGN_OR_RETURN(stats->file_, SafetensorsFile::open(path, host));
  if (stats->metadata("mm2_calibration").empty()) {
    return error(Code::format, path, ": not what mm2 calibrate writes");
  }
  while (const TensorInfo* tokens =
             stats->file_->find(join("layers.", stats->n_layers_, ".expert_tokens"))) {
    const int64_t n = tokens->shape.n_elements();
    if (n <= 0 || n > INT32_MAX || (stats->n_experts_ > 0 && n != stats->n_experts_)) {
      return error(Code::format, path, ": tensor ", tokens->name, " is of ", n,
                   " experts, layer 0 has ", stats->n_experts_);
    }
    stats->n_experts_ = static_cast<int32_t>(n);
    ++stats->n_layers_;
  }
  if (stats->n_layers_ == 0) return error(Code::format, path, ": no layers");
  return stats;
}

std::string CalibrationStats::metadata(std::string_view key) const {
  for (const auto& [name, value] : file_->metadata()) {
    if (name == key) return value;
  }
  return {};
}

Result<std::string> CalibrationStats::digest() const {
  Hasher hasher(HashKind::xxh3);
  hasher.begin();
  for (int32_t layer = 0; layer < n_layers_; ++layer) {
    for (const char* what : {"expert_tokens", "norm_sum"}) {
      MM2_ASSIGN_OR_RETURN(const auto sums, numbers(layer, what));
      hasher.update(sums.data(), sums.size() * sizeof(double));
    }
  }
  return hasher.finish();
}

bool CalibrationStats::has(int32_t layer, std::string_view what) const {
  return file_->find(join("layers.", layer, ".", what)) != nullptr;
}

Result<std::vector<double>> CalibrationStats::row(int32_t layer, std::string_view what,
                                                  int32_t expert) const {
  const std::string name = join("layers.", layer, ".", what);
  const TensorInfo* tensor = file_->find(name);
  if (tensor == nullptr) {
    return error(Code::not_found, file_->path(), ": there is no tensor ", name,
                 "; calibrate did not collect it");
  }
  const auto width = static_cast<uint64_t>(dtype_bits(tensor->dtype)) / 8;
  uint64_t first = 0;
  auto n = static_cast<uint64_t>(tensor->shape.n_elements());
  if (expert >= 0) {
    if (tensor->shape.rank() < 1 || expert >= tensor->shape[0]) {
      return error(Code::format, file_->path(), ": tensor ", name, ": shape ",
                   tensor->shape.to_string(), " has no row ", expert);
    }
    n /= static_cast<uint64_t>(tensor->shape[0]);
    first = n * static_cast<uint64_t>(expert);
  }
  std::vector<std::byte> bytes(n * width);
  MM2_RETURN_IF_ERROR(file_->read(*tensor, first * width, bytes.size(), bytes.data()));
  std::vector<double> values(n);
  for (size_t i = 0; i < n; ++i) {
    const std::byte* at = bytes.data() + i * width;
    if (tensor->dtype == Dtype::f64) {
      std::memcpy(&values[i], at, sizeof(double));
    } else if (tensor->dtype == Dtype::f32) {
      float value;
      std::memcpy(&value, at, sizeof value);
      values[i] = value;
    } else if (tensor->dtype == Dtype::i64) {
      int64_t value;
      std::memcpy(&value, at, sizeof value);
      values[i] = static_cast<double>(value);
    } else {
      return error(Code::format, file_->path(), ": tensor ", name, " is ",
                   dtype_name(tensor->dtype));
    }
    if (!std::isfinite(values[i])) {
      return error(Code::numeric, file_->path(), ": tensor ", name, ": number ", i,
                   " is not finite");
    }
  }
  return values;
}

Result<std::vector<double>> CalibrationStats::numbers(int32_t layer, std::string_view what) const {
  MM2_ASSIGN_OR_RETURN(std::vector<double> values, row(layer, what, -1));
  if (values.size() != static_cast<size_t>(n_experts_)) {
    return error(Code::format, file_->path(), ": layers.", layer, ".", what, " has ", values.size(),
                 " numbers for ", n_experts_, " experts");
  }
  return values;
}

Result<std::vector<double>> CalibrationStats::saliency(int32_t layer, SaliencyMethod method) const {
  if (method == SaliencyMethod::frequency) return numbers(layer, "expert_tokens");
  if (method == SaliencyMethod::ean_sum) return numbers(layer, "norm_sum");
  if (method == SaliencyMethod::weighted_ean_sum) return numbers(layer, "weighted_norm_sum");
  if (method == SaliencyMethod::weighted_frequency_sum) return numbers(layer, "weight_sum");
  if (method == SaliencyMethod::max_activations) return numbers(layer, "largest_activation");
  const char* sum = method == SaliencyMethod::reap       ? "weighted_norm_sum"
                    : method == SaliencyMethod::ean_mean ? "norm_sum"
                                                         : "weighted_square_sum";
  MM2_ASSIGN_OR_RETURN(std::vector<double> values, numbers(layer, sum));
  MM2_ASSIGN_OR_RETURN(const std::vector<double> tokens, numbers(layer, "expert_tokens"));
  for (size_t e = 0; e < values.size(); ++e) {
    values[e] = tokens[e] == 0 ? 0 : values[e] / tokens[e];
    if (method == SaliencyMethod::reap_l2) values[e] = std::sqrt(values[e]);
  }
  return values;
}

}  // namespace mm2
