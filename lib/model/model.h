// A loaded checkpoint: the configuration and the weights, packed for one backend. Immutable, shared
// by any number of engines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/blake2b.h"
#include "base/executor.h"
#include "base/host.h"
#include "base/json.h"
#include "device/device.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "format/generation_config.h"
#include "kernels/api/backend.h"
#include "model/backends.h"
#include "model/packed_cache.h"
#include "quant/kv_scales.h"
#include "tensor/buffer.h"

namespace mm2 {

enum class MapWeights : int32_t {
  automatic = 0,  // where the file's layout suits the kernels
  no = 1,         // everything is copied: safe when somebody may truncate the files
  yes = 2,        // like automatic, and an error if the files cannot be mapped
};

enum class DeviceKind : int32_t { cpu = 0, cuda = 1 };

struct ModelOptions {
  Isa isa = Isa::automatic;  // of the CPU
  MapWeights map_weights = MapWeights::automatic;
  int32_t n_threads = 0;       // for loading; 0 = all usable cores
  std::string packed_cache{};  // folder of packed weights; empty = none
  bool metadata_only = false;  // configuration and tensor list, no weights
  DeviceKind device = DeviceKind::cpu;
  int32_t device_index = 0;
  std::string device_plugin{};  // as in DevicePlugin::open
};

/// Bytes a model takes, known before its weights are read.
struct WeightBytes {
  uint64_t owned = 0;    // allocated: packed or copied
  uint64_t mapped = 0;   // used in the file's pages
  uint64_t staging = 0;  // only while loading
  uint64_t device = 0;   // in a device's memory; then nothing is owned or mapped
  uint64_t total() const { return owned + mapped + device; }
};

/// What running the model reads and multiplies, for statistics: bytes as packed, weights as
/// numbers.
struct WeightTraffic {
  uint64_t dense_bytes = 0, dense_weights = 0;  // attention, norms, routers: once a step; per token
  uint64_t expert_bytes = 0, expert_weights = 0;  // one expert of one layer
  uint64_t head_bytes = 0, head_weights = 0;      // lm_head: once a step; per row of logits
};

/// The sizes that kernels know.
kernels::ModelShape shape_of(const ModelConfig& config);

class Model {
 public:
  /// On a device the plug-in decides how weights lie, and no device is needed for metadata_only.
  ///
  /// Opens, checks the whole checkpoint against its configuration, and loads. Files are read by
  /// shards in parallel through bounded staging memory. host.progress may cancel (Code::cancelled);
  /// nothing is left then.
  static Result<std::shared_ptr<const Model>> load(const std::string& path,
                                                   const ModelOptions& options, const Host& host);

  const ModelConfig& config() const { return config_; }
  const GenerationConfig& generation() const { return generation_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  /// Sizes and the layout of weights; runs steps and reads the cache where device_model() is null.
  const kernels::Backend& backend() const { return *backend_; }
  DeviceKind device_kind() const { return plugin_ ? DeviceKind::cuda : DeviceKind::cpu; }
  const DevicePlugin* plugin() const { return plugin_.get(); }  // null on the CPU
  /// The weights on the device, or null: on the CPU, and after metadata_only.
  const std::shared_ptr<DeviceModel>& device_model() const { return device_model_; }
  const kernels::ModelShape& shape() const { return shape_; }
  const kernels::ModelWeights& weights() const { return weights_; }
  /// Of an FP8 cache, [n_layers, n_kv_heads]; empty where the checkpoint has none.
  const KvScales& kv_scales() const { return kv_scales_; }
  bool has_weights() const { return has_weights_; }
  /// Of fingerprint_of(), where the model has weights.
  const Digest& fingerprint() const { return fingerprint_; }
  const WeightBytes& weight_bytes() const { return bytes_; }
  uint64_t n_parameters() const { return n_parameters_; }
  const WeightTraffic& traffic() const { return traffic_; }
  /// Bytes of weights that one decoded token reads: everything but the embedding table and the
  /// experts not chosen.
  uint64_t active_bytes_per_token() const {
    return traffic_.dense_bytes + traffic_.head_bytes +
           traffic_.expert_bytes * static_cast<uint64_t>(shape_.top_k) *
               static_cast<uint64_t>(shape_.n_layers);
  }
  /// How activations enter products unless the host says otherwise: BF16, or F32 for F32 and F16
  /// checkpoints.
  int32_t default_activations() const { return default_activations_; }

  /// Configuration, schemes per class of tensor, defaults for generation, memory.
  Json describe() const;

 private:
  friend class ModelLoader;
  Model() = default;

  ModelConfig config_;
  GenerationConfig generation_;
  std::shared_ptr<Checkpoint> checkpoint_;
  const kernels::Backend* backend_ = nullptr;
  kernels::ModelShape shape_{};
  kernels::ModelWeights weights_{};
  std::vector<kernels::LayerWeights> layers_;    // [n_layers]
  std::vector<kernels::ExpertWeights> experts_;  // [n_layers * n_experts]
  KvScales kv_scales_;
  Json schemes_;
  PackedCache::Contents packed_;                // instead of memory_, where they came from a cache
  Buffer memory_;                               // every packed or copied weight
  std::shared_ptr<const DevicePlugin> plugin_;  // null on the CPU
  DeviceMemory device_memory_;                  // instead of memory_
  std::shared_ptr<DeviceModel> device_model_;   // in device_memory_
  bool has_weights_ = false;
  Digest fingerprint_{};
  WeightBytes bytes_;
  uint64_t n_parameters_ = 0;
  WeightTraffic traffic_;
  int32_t default_activations_ = kernels::kBF16;
};

}  // namespace mm2
