// A checkpoint as tools see it: every weight with all tensors that it is made of, whatever its format,
// readable as numbers row by row; what no weight is made of; the files beside.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/host.h"
#include "base/json.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "quant/quant_config.h"
#include "quant/scheme.h"

namespace mm2 {

struct ViewWeight {
  WeightPlace place;  // official name, role, layer, expert, shape
  WeightDescription description;
};

class CheckpointView {
 public:
  /// A folder with config.json. Errors: what load_config, load_quant_config and Checkpoint::open give;
  /// Code::format when a weight that the configuration asks for is missing or not sound.
  static Result<std::shared_ptr<CheckpointView>> open(const std::string& path, const Host& host);

  const ModelConfig& config() const { return config_; }
  /// config.json as it stands, keys in their order.
  const Json& config_json() const { return config_json_; }
  const QuantConfig& quant() const { return quant_; }
  const Checkpoint& source() const { return *source_; }
  const std::string& folder() const { return source_->folder(); }
  /// Oddities that opening it met and that change nothing.
  std::span<const std::string> remarks() const { return remarks_; }

  /// All weights of the model: embedding, per layer norms, attention, router, experts in the order of
  /// their ids, final norm, lm_head. A tied lm_head is the embedding once more.
  std::span<const ViewWeight> weights() const { return weights_; }
  /// By official name ("model.layers.0.self_attn.q_proj.weight"); null when there is none.
  const ViewWeight* find(std::string_view official_name) const;
  /// Tensors that no weight is made of (KV scales, MTP modules, what nobody knows), as they lie.
  std::span<const TensorInfo* const> others() const { return others_; }
  /// Bytes that reading rows of the weight takes, about.
  static uint64_t bytes_of_rows(const ViewWeight& weight, int64_t n_rows);

  /// Rows [first_row, first_row + n_rows) as F32 (exact for plain types and FP8 with powers of two;
  /// else one rounding for each product, quant/dequantize.h). `to`: [n_rows, n_cols]. Any thread.
  Status rows(const ViewWeight& weight, int64_t first_row, int64_t n_rows, float* to) const;

  /// files_taken_along(folder())
  std::vector<std::string> files_to_take() const;

  /// For a manifest: {"path": last part of the folder's name, "tensors", "bytes", "headers": digest of
  /// names, types, shapes and places, "config": digest}. Two checkpoints that differ in numbers only
  /// may have the same one.
  Json identity() const;

 private:
  CheckpointView() = default;
  Status describe();

  ModelConfig config_;
  Json config_json_;
  QuantConfig quant_;
  std::shared_ptr<Checkpoint> source_;
  std::vector<std::string> remarks_;
  std::vector<ViewWeight> weights_;
  absl::flat_hash_map<std::string_view, size_t> by_name_;
  std::vector<const TensorInfo*> others_;
};

/// Names of the files of a checkpoint's folder that a derived checkpoint takes along: tokenizer,
/// templates, generation_config.json, code, licences. Not among them: tensors, indices, config.json, what
/// describes a quantization, manifest.json. Sorted.
std::vector<std::string> files_taken_along(const std::string& folder);

}  // namespace mm2
