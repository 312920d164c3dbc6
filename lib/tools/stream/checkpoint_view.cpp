#include "tools/stream/checkpoint_view.h"

#include <algorithm>
#include <filesystem>

#include "absl/container/flat_hash_set.h"
#include "format/names.h"
#include "quant/dequantize.h"
#include "tools/stream/hash.h"

namespace mm2 {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfig = 64 << 20;

bool is_taken_along(const std::string& name) {
  static constexpr std::string_view kMadeAnew[] = {
      "config.json",          "manifest.json",        "quantization_config.json",
      "quantize_config.json", "hf_quant_config.json", "model.safetensors.index.json"};
  if (std::find(std::begin(kMadeAnew), std::end(kMadeAnew), name) != std::end(kMadeAnew)) {
    return false;
  }
  static constexpr std::string_view kWeights[] = {".safetensors", ".index.json", ".bin",    ".pt",
                                                  ".pth",         ".gguf",       ".mm2pack"};
  for (const std::string_view end : kWeights) {
    if (name.ends_with(end)) return false;
  }
  return !name.starts_with(".");
}

}  // namespace

Result<std::shared_ptr<CheckpointView>> CheckpointView::open(const std::string& path,
                                                             const Host& host) {
  std::shared_ptr<CheckpointView> view(new CheckpointView);
  Host listening = host;
  listening.progress = nullptr;  // reports of opening shards have another unit than those of work
  listening.log =
      Log(LogLevel::trace, [&](LogLevel level, std::string_view component, std::string_view text) {
        if (level <= LogLevel::warning) view->remarks_.emplace_back(text);
        host.log.write(level, component, text);
      });
  const std::string file = join_path(path, "config.json");
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, file, kMaxConfig));
  MM2_ASSIGN_OR_RETURN(view->config_json_, parse_json(text, file));
  MM2_ASSIGN_OR_RETURN(view->config_, parse_config(text, file, listening.log));
  MM2_ASSIGN_OR_RETURN(view->quant_,
                       load_quant_config(view->config_.quantization, path, listening));
  for (const std::string& remark : view->quant_.remarks) view->remarks_.push_back(remark);
  MM2_ASSIGN_OR_RETURN(view->source_, Checkpoint::open(path, listening));
  MM2_RETURN_IF_ERROR(view->describe());
  return view;
}

Status CheckpointView::describe() {
  absl::flat_hash_set<const TensorInfo*> used;
  for (WeightPlace& place : locate_all(config_, *source_)) {
    MM2_ASSIGN_OR_RETURN(WeightDescription description, describe_weight(place, *source_, quant_));
    for (const TensorInfo* part : description.parts) {
      if (part != nullptr) used.insert(part);
    }
    weights_.push_back({std::move(place), std::move(description)});
  }
  by_name_.reserve(weights_.size());
  for (size_t i = 0; i < weights_.size(); ++i) by_name_.emplace(weights_[i].place.name, i);
  for (const TensorInfo& tensor : source_->tensors()) {
    if (!used.contains(&tensor)) others_.push_back(&tensor);
  }
  return {};
}

const ViewWeight* CheckpointView::find(std::string_view official_name) const {
  const auto found = by_name_.find(official_name);
  return found == by_name_.end() ? nullptr : &weights_[found->second];
}

uint64_t CheckpointView::bytes_of_rows(const ViewWeight& weight, int64_t n_rows) {
  const auto stored_rows =
      static_cast<uint64_t>(std::max<int64_t>(1, weight.place.stored.n_rows()));
  uint64_t bytes = 0;
  for (const TensorInfo* part : weight.description.parts) {
    if (part != nullptr) bytes += part->bytes / stored_rows * static_cast<uint64_t>(n_rows);
  }
  return bytes;
}

Status CheckpointView::rows(const ViewWeight& weight, int64_t first_row, int64_t n_rows,
                            float* to) const {
  return dequantize_rows(weight.place, weight.description, *source_, first_row, n_rows, to);
}

std::vector<std::string> CheckpointView::files_to_take() const {
  return files_taken_along(folder());
}

std::vector<std::string> files_taken_along(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code failed;
  for (fs::directory_iterator at(folder.empty() ? "." : folder, failed), end; !failed && at != end;
       at.increment(failed)) {
    std::error_code unknown;
    const std::string name = at->path().filename().string();
    if (at->is_regular_file(unknown) && is_taken_along(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Json CheckpointView::identity() const {
  std::string heads;
  for (const TensorInfo& tensor : source_->tensors()) {
    heads += join(tensor.name, " ", dtype_name(tensor.dtype), " ", tensor.shape.to_string(), " ",
                  tensor.shard, " ", tensor.offset, "\n");
  }
  return {{"path", fs::path(source_->folder()).filename().string()},
          {"tensors", source_->tensors().size()},
          {"bytes", source_->tensor_bytes()},
          {"headers", xxh3_of(heads)},
          {"config", xxh3_of(config_json_.dump())}};
}

}  // namespace mm2
