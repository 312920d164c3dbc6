#include "model/model.h"

#include <limits>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "attention/attention_block.h"
#include "format/names.h"
#include "model/describe.h"
#include "model/fingerprint.h"
#include "model/packed_cache.h"
#include "model/weight_loader.h"
#include "model/weight_plan.h"
#include "moe/moe_block.h"
#include "quant/check.h"
#include "quant/kv_scales.h"
#include "quant/quant_config.h"

namespace mm2 {

kernels::ModelShape shape_of(const ModelConfig& c) {
  return {.n_layers = c.n_layers,
          .hidden = c.hidden,
          .n_heads = c.n_heads,
          .n_kv_heads = c.n_kv_heads,
          .head_dim = c.head_dim,
          .rotary_dim = c.rotary_dim,
          .n_experts = c.n_experts,
          .top_k = c.top_k,
          .intermediate = c.intermediate,
          .n_vocab = c.n_vocab,
          .rms_norm_eps = static_cast<float>(c.rms_norm_eps),
          .rope_theta = c.rope_theta};
}

// Loads step by step into a model that nobody else sees yet.
class ModelLoader {
 public:
  ModelLoader(const ModelOptions& options, const Host& host) : options_(options), host_(host) {}

  Result<std::shared_ptr<const Model>> load(const std::string& path) {
    MM2_RETURN_IF_ERROR(choose_kernels());
    MM2_ASSIGN_OR_RETURN(model_->checkpoint_, Checkpoint::open(path, host_));
    const std::string& folder = model_->checkpoint_->folder();
    MM2_ASSIGN_OR_RETURN(model_->config_, load_config(join_path(folder, "config.json"), host_));
    MM2_ASSIGN_OR_RETURN(model_->generation_, load_generation_config(folder, host_));
    MM2_RETURN_IF_ERROR(check_checkpoint());
    model_->shape_ = shape_of(model_->config_);
    MM2_RETURN_IF_ERROR(plan());
    if (!options_.metadata_only) MM2_RETURN_IF_ERROR(fill_weights());
    return std::shared_ptr<const Model>(std::move(model_));
  }

 private:
  Status choose_kernels() {
    if (options_.device == DeviceKind::cpu) {
      MM2_ASSIGN_OR_RETURN(model_->backend_, choose_backend(options_.isa));
      return {};
    }
    if (options_.isa != Isa::automatic) {
      return error(Code::unsupported, "isa names kernels of the CPU, and the device is CUDA");
    }
    if (!options_.packed_cache.empty()) {
      return error(Code::unsupported,
                   "packed_cache is for the CPU: for a device weights are packed while loading");
    }
    MM2_ASSIGN_OR_RETURN(model_->plugin_, DevicePlugin::open(options_.device_plugin));
    model_->backend_ = &model_->plugin_->backend();
    plan_.on_device = true;
    if (options_.metadata_only) return {};
    MM2_ASSIGN_OR_RETURN(device_, Device::open(model_->plugin_, options_.device_index));
    return {};
  }

  Status check_checkpoint() {
    const ModelConfig& config = model_->config_;
    const Checkpoint& checkpoint = *model_->checkpoint_;
    MM2_ASSIGN_OR_RETURN(const QuantConfig quant,
                         load_quant_config(config.quantization, checkpoint.folder(), host_));
    std::vector<WeightPlace> places = locate_all(config, checkpoint);
    // Scales are checked where they are decoded, so that they are read once.
    MM2_ASSIGN_OR_RETURN(WeightCheck check,
                         check_weights(places, checkpoint, quant, {.scales = false}));
    MM2_ASSIGN_OR_RETURN(KvScalePlaces kv, locate_kv_scales(checkpoint, config.n_layers));
    MM2_ASSIGN_OR_RETURN(model_->kv_scales_, read_kv_scales(kv, checkpoint, config.n_kv_heads));
    if (!kv.remark.empty()) check.remarks.push_back(kv.remark);
    absl::flat_hash_set<std::string_view> of_kv;
    for (const auto& tensors : {kv.k, kv.v}) {
      for (const TensorInfo* tensor : tensors) of_kv.insert(tensor->name);
    }
    for (const std::string_view name : check.unused) {
      if (is_ignored_name(config, name) || of_kv.contains(name)) continue;
      host_.log.write(LogLevel::warning, "model", "tensor ", std::string(name),
                      " belongs to no weight of the model and is passed over");
    }
    for (const auto& remarks : {quant.remarks, check.remarks}) {
      for (const std::string& remark : remarks) {
        host_.log.write(LogLevel::warning, "model", remark);
      }
    }
    described_ = DescribedWeights(std::move(places), std::move(check.descriptions));
    model_->schemes_ = count_schemes(described_);
    return {};
  }

  // The model card in order: embedding, layers of attention and experts, final norm, head.
  Status plan() {
    const ModelConfig& config = model_->config_;
    const auto n_experts = static_cast<size_t>(config.n_experts);
    model_->layers_.resize(static_cast<size_t>(config.n_layers));
    model_->experts_.resize(model_->layers_.size() * n_experts);
    kernels::ModelWeights& weights = model_->weights_;
    weights.layers = model_->layers_.data();

    MM2_RETURN_IF_ERROR(
        add(-1, {{.role = Role::embedding, .matrix = &weights.embedding, .rows_gathered = true}}));
    for (size_t l = 0; l < model_->layers_.size(); ++l) {
      std::vector<WeightSlot> slots;
      append_attention_slots(model_->layers_[l], slots);
      append_moe_slots(model_->layers_[l],
                       std::span(model_->experts_).subspan(l * n_experts, n_experts), slots);
      MM2_RETURN_IF_ERROR(add(static_cast<int32_t>(l), slots));
    }
    MM2_RETURN_IF_ERROR(add(-1, {{.role = Role::final_norm, .vector = &weights.final_norm},
                                 {.role = Role::lm_head, .matrix = &weights.lm_head}}));
    count();
    return {};
  }

  Status add(int32_t layer, const std::vector<WeightSlot>& slots) {
    return plan_weights(described_, *model_->checkpoint_, *model_->backend_,
                        options_.map_weights != MapWeights::no, layer, slots, plan_);
  }

  void count() {
    const ModelConfig& config = model_->config_;
    WeightTraffic& traffic = model_->traffic_;
    bool any_narrow = false;  // BF16 or quantised
    for (const PlannedWeight& w : plan_.weights) {
      const auto n_weights = static_cast<uint64_t>(w.place.n_rows() * w.place.n_cols());
      const bool tied_head = w.slot.role == Role::lm_head && config.tie_word_embeddings;
      if (!tied_head) model_->n_parameters_ += n_weights;
      any_narrow |= w.coded || (w.slot.matrix != nullptr && w.format.number == kernels::kBF16);
      if (w.slot.expert >= 0) {
        traffic.expert_bytes += w.bytes;
        traffic.expert_weights += n_weights;
      } else if (w.slot.role == Role::lm_head) {
        traffic.head_bytes += w.bytes;
        traffic.head_weights += n_weights;
      } else if (w.slot.role != Role::embedding) {
        traffic.dense_bytes += w.bytes;
        traffic.dense_weights += n_weights;
      }
    }
    const auto n_experts =
        static_cast<uint64_t>(config.n_layers) * static_cast<uint64_t>(config.n_experts);
    traffic.expert_bytes /= n_experts;
    traffic.expert_weights /= n_experts;
    model_->default_activations_ = any_narrow ? kernels::kBF16 : kernels::kF32;
    if (model_->backend_->real == kernels::kF64) model_->default_activations_ = kernels::kF64;
    model_->bytes_ = {plan_.owned_bytes, plan_.mapped_bytes, plan_.staging_bytes, 0};
    if (plan_.on_device) std::swap(model_->bytes_.owned, model_->bytes_.device);
  }

  Status fill_weights() {
    std::shared_ptr<Executor> executor = host_.executor;
    if (executor == nullptr) {
      const int32_t n = options_.n_threads == 0 ? usable_cores() : options_.n_threads;
      MM2_ASSIGN_OR_RETURN(executor, make_thread_team(n));
    }
    model_->bytes_.staging = plan_.staging_bytes * static_cast<uint64_t>(executor->n_workers());
    if (options_.map_weights == MapWeights::yes && !plan_.weights.empty() &&
        model_->checkpoint_->map(*plan_.weights.front().tensor) == nullptr) {
      return error(Code::unsupported, "map_weights is MM2_YES and ",
                   model_->checkpoint_->file_of(*plan_.weights.front().tensor),
                   " cannot be mapped");
    }
    MM2_RETURN_IF_ERROR(device_ != nullptr              ? fill_device(*executor)
                        : options_.packed_cache.empty() ? fill_memory(*executor)
                                                        : fill_from_cache(*executor));
    MM2_ASSIGN_OR_RETURN(model_->fingerprint_,
                         fingerprint_of(model_->shape_, model_->kv_scales_, *model_->checkpoint_));
    model_->has_weights_ = true;
    return {};
  }

  Status fill_memory(Executor& executor) {
    std::vector<float> scales;
    MM2_RETURN_IF_ERROR(load_weights(plan_, *model_->checkpoint_, *model_->backend_, executor,
                                     host_, model_->memory_, scales));
    MM2_RETURN_IF_ERROR(fill_slots(plan_, *model_->checkpoint_, model_->memory_.data(), scales));
    if (cache_) keep(cache_->write({model_->memory_.data(), plan_.owned_bytes}, scales, executor));
    return {};
  }

  Status fill_device(Executor& executor) {
    auto memory = DeviceMemory::make(device_, plan_.owned_bytes);
    if (!memory.ok()) {
      return Status(memory.status()).in(join("the weights, ", plan_.owned_bytes, " bytes"));
    }
    model_->device_memory_ = *std::move(memory);
    DeviceWeights weights(*device_, model_->device_memory_);
    std::vector<float> scales;
    MM2_RETURN_IF_ERROR(load_weights_into(plan_, *model_->checkpoint_, *model_->backend_, executor,
                                          host_, weights, scales));
    MM2_RETURN_IF_ERROR(
        fill_slots(plan_, *model_->checkpoint_, model_->device_memory_.data(), scales));
    MM2_ASSIGN_OR_RETURN(model_->device_model_,
                         DeviceModel::make(device_, model_->shape_, model_->weights_));
    return {};
  }

  // A cache that is missing or damaged is written anew; one that cannot be written is no failure.
  Status fill_from_cache(Executor& executor) {
    MM2_ASSIGN_OR_RETURN(cache_, PackedCache::locate(options_.packed_cache, plan_,
                                                     *model_->checkpoint_, *model_->backend_));
    auto found = cache_->read(executor);
    if (!found.ok()) {
      if (found.status().code() != Code::not_found) keep(found.status());
      return fill_memory(executor);
    }
    model_->packed_ = *std::move(found);
    model_->bytes_.mapped += model_->bytes_.owned;
    model_->bytes_.owned = model_->bytes_.staging = 0;
    return fill_slots(plan_, *model_->checkpoint_, model_->packed_.memory,
                      model_->packed_.global_scales);
  }

  void keep(const Status& status) {
    if (!status.ok()) host_.log.write(LogLevel::warning, "model", status.message());
  }

  ModelOptions options_;
  const Host& host_;
  std::shared_ptr<Model> model_{new Model};
  DescribedWeights described_;
  WeightPlan plan_;
  std::shared_ptr<Device> device_;  // null on the CPU
  std::optional<PackedCache> cache_;
};

Result<std::shared_ptr<const Model>> Model::load(const std::string& path,
                                                 const ModelOptions& options, const Host& host) {
  auto model = ModelLoader(options, host).load(path);
  if (!model.ok()) return Status(model.status()).in("loading " + path);
  return model;
}

}  // namespace mm2
