// inspect: what a checkpoint is, from its headers alone.
#include <algorithm>
#include <map>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "format/names.h"
#include "quant/coded_matrix.h"
#include "quant/kv_scales.h"
#include "tools/subject.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"

namespace mm2 {
namespace {

constexpr size_t kNamed = 100;  // names listed of a kind that should be empty

struct ClassTotal {
  Role role = Role::embedding;
  std::string scheme;
  std::string dtype;
  uint64_t n_weights = 0;
  uint64_t n_parameters = 0;
  uint64_t n_bytes = 0;
  bool executable = true;
};

// Sums over the weights of one checkpoint.
class Inspection {
 public:
  Inspection(const ModelConfig& config, const QuantConfig& quant, const TensorSource& source)
      : config_(config), quant_(quant), source_(source) {}

  void run() {
    for (const WeightPlace& place : locate_all(config_, source_)) add(place);
    add_kv_scales();
    for (const TensorInfo& tensor : source_.tensors()) {
      if (used_.contains(&tensor)) continue;
      if (is_ignored_name(config_, tensor.name)) {
        ++n_ignored_;
      } else {
        unexpected_.push_back(tensor.name);
      }
    }
  }

  void report(Json& to) const {
    to["n_parameters"] = n_parameters_;
    to["n_weight_tensors"] = n_code_tensors_;
    to["n_companion_tensors"] = used_.size() - n_code_tensors_;
    to["n_ignored_tensors"] = n_ignored_;
    to["executable"] = problems_.empty() && n_missing_ == 0 &&
                       std::all_of(classes_.begin(), classes_.end(),
                                   [](const auto& entry) { return entry.second.executable; });
    to["classes"] = Json::array();
    for (const auto& [key, total] : classes_) {
      to["classes"].push_back({{"class", std::string(role_name(total.role))},
                               {"scheme", total.scheme},
                               {"dtype", total.dtype},
                               {"weights", total.n_weights},
                               {"parameters", total.n_parameters},
                               {"bytes", total.n_bytes}});
    }
    if (!kv_.empty()) {
      const TensorInfo& first = *kv_.k[0];
      to["kv_scales"] = {{"layers", kv_.k.size()},
                         {"dtype", std::string(dtype_name(first.dtype))},
                         {"per_head", first.shape.n_elements() > 1}};
    }
    if (n_missing_ > 0) to["n_missing"] = n_missing_;
    if (!unexpected_.empty()) to["n_unexpected"] = unexpected_.size();
    add_names(to, "unexpected", unexpected_);
    add_names(to, "problems", problems_);
  }

  bool has_remarks() const { return n_missing_ > 0 || !unexpected_.empty() || !problems_.empty(); }

 private:
  static void add_names(Json& to, const char* field, const std::vector<std::string>& names) {
    if (names.empty()) return;
    to[field] = Json::array();
    for (size_t i = 0; i < std::min(names.size(), kNamed); ++i) to[field].push_back(names[i]);
  }

  void add(const WeightPlace& place) {
    const Result<WeightDescription> described = describe_weight(place, source_, quant_);
    if (!described.ok()) {
      n_missing_ += place.found ? 0 : 1;
      if (problems_.size() < kNamed) problems_.push_back(described.status().message());
      return;
    }
    const std::string scheme = described->to_string();
    const std::string dtype(dtype_name(described->dtype()));
    ClassTotal& total = classes_[{static_cast<int>(place.role), scheme + dtype}];
    total.role = place.role;
    total.scheme = scheme;
    total.dtype = dtype;
    total.executable = check_executable(place, *described, source_).ok();
    // A tied head is the embedding once more: neither its numbers nor its bytes count twice.
    const bool tied = place.role == Role::lm_head && used_.contains(&described->codes());
    total.n_weights += 1;
    if (tied) return;
    const auto n = static_cast<uint64_t>(place.shape.n_elements());
    total.n_parameters += n;
    n_parameters_ += n;
    const auto rows = static_cast<uint64_t>(place.n_rows());
    const auto stored_rows = static_cast<uint64_t>(std::max<int64_t>(1, place.stored.n_rows()));
    for (const TensorInfo* part : described->parts) {
      if (part == nullptr) continue;
      total.n_bytes +=
          part->bytes / stored_rows * rows + part->bytes % stored_rows * rows / stored_rows;
      if (used_.insert(part).second && part == &described->codes()) ++n_code_tensors_;
    }
  }

  void add_kv_scales() {
    Result<KvScalePlaces> places = locate_kv_scales(source_, config_.n_layers);
    if (!places.ok()) {
      problems_.push_back(places.status().message());
      return;
    }
    kv_ = *std::move(places);
    for (const auto& tensors : {kv_.k, kv_.v}) used_.insert(tensors.begin(), tensors.end());
  }

  const ModelConfig& config_;
  const QuantConfig& quant_;
  const TensorSource& source_;
  KvScalePlaces kv_;
  std::map<std::pair<int, std::string>, ClassTotal> classes_;
  absl::flat_hash_set<const TensorInfo*> used_;
  std::vector<std::string> unexpected_;
  std::vector<std::string> problems_;
  uint64_t n_parameters_ = 0, n_code_tensors_ = 0, n_ignored_ = 0, n_missing_ = 0;
};

Json shards_report(const Checkpoint& checkpoint) {
  Json shards = Json::array();
  for (const auto& shard : checkpoint.shards()) {
    const std::string& path = shard->path();
    shards.push_back({{"file", path.substr(path.find_last_of('/') + 1)},
                      {"tensors", shard->tensors().size()},
                      {"bytes", shard->size()}});
  }
  return shards;
}

Json dtypes_report(const TensorSource& source) {
  std::map<std::string, std::pair<uint64_t, uint64_t>> totals;
  for (const TensorInfo& tensor : source.tensors()) {
    auto& [n, bytes] = totals[std::string(dtype_name(tensor.dtype))];
    ++n;
    bytes += tensor.bytes;
  }
  Json dtypes = Json::array();
  for (const auto& [name, total] : totals) {
    dtypes.push_back({{"dtype", name}, {"tensors", total.first}, {"bytes", total.second}});
  }
  return dtypes;
}

Json tensors_report(const TensorSource& source, const ToolOptions& options) {
  const std::string layer = join("model.layers.", options.layer, ".");
  Json tensors = Json::array();
  for (const TensorInfo& tensor : source.tensors()) {
    if (options.layer >= 0 && !tensor.name.starts_with(layer)) continue;
    if (!options.tensor.empty() && !matches_glob(tensor.name, options.tensor)) continue;
    const std::string file(source.file_of(tensor));
    tensors.push_back({{"name", tensor.name},
                       {"dtype", std::string(dtype_name(tensor.dtype))},
                       {"shape", tensor.shape.extents()},
                       {"bytes", tensor.bytes},
                       {"file", file.substr(file.find_last_of('/') + 1)},
                       {"offset", tensor.offset}});
  }
  return tensors;
}

}  // namespace

Status run_inspect(const Json& json, const Host& host, Json* report) {
  static constexpr std::string_view kAllowed[] = {"model", "threads", "strict", "layer", "tensor"};
  MM2_ASSIGN_OR_RETURN(const ToolOptions options, read_tool_options("inspect", json, kAllowed));
  const OpenedSubject opened = open_subject(options.model, host);
  if (!opened.status.ok()) return opened.status;
  const Subject& subject = opened.subject;
  Json out = {{"model", options.model}, {"kind", subject.kind}};
  bool has_remarks = !subject.remarks.empty();
  if (subject.config) {
    out["config"] = config_report(*subject.config);
    out["quantization"] = quant_report(subject.quant);
  }
  if (subject.checkpoint != nullptr) {
    const Checkpoint& checkpoint = *subject.checkpoint;
    out["n_tensors"] = checkpoint.tensors().size();
    out["tensor_bytes"] = checkpoint.tensor_bytes();
    if (subject.config) {
      Inspection inspection(*subject.config, subject.quant, checkpoint);
      inspection.run();
      inspection.report(out);
      has_remarks |= inspection.has_remarks();
    }
    out["dtypes"] = dtypes_report(checkpoint);
    out["shards"] = shards_report(checkpoint);
    if (subject.kind == "safetensors") {
      out["metadata"] = Json::object();
      for (const auto& [key, value] : checkpoint.shards()[0]->metadata())
        out["metadata"][key] = value;
    }
    if (subject.kind == "safetensors" || options.layer >= 0 || !options.tensor.empty()) {
      out["tensors"] = tensors_report(checkpoint, options);
    }
  }
  if (!subject.remarks.empty()) out["remarks"] = subject.remarks;
  *report = std::move(out);
  if (options.strict && has_remarks) {
    return error(Code::check_failed, options.model,
                 ": there are remarks, and strict was asked for");
  }
  return {};
}

}  // namespace mm2
