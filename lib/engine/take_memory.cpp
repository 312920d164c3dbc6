// What an engine takes when it is made, in the host's memory or on a device.
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/engine.h"

namespace mm2 {
namespace {

Status copy_device_block(void* self, int32_t from, int32_t to) {
  return static_cast<DeviceEngine*>(self)->copy_block(from, to);
}

}  // namespace

Status Engine::take_memory(const Host& host) {
  MM2_ASSIGN_OR_RETURN(const MemoryEstimate bytes, estimate(*model_, options_, host));
  const kernels::ModelShape& shape = model_->shape();
  const auto n_blocks = static_cast<int32_t>(options_.kv_tokens / options_.kv_block_size);
  const int32_t number = kv_number(*model_, options_);
  const int64_t block = model_->backend().kv_block_bytes(&shape, options_.kv_block_size, number);
  kv_ = {nullptr, block * n_blocks, block, options_.kv_block_size, number};
  if (has_unit_scales(options_)) {
    unit_scales_.assign(static_cast<size_t>(shape.n_layers * shape.n_kv_heads), 1.0f);
    kv_.k_scales = kv_.v_scales = unit_scales_.data();
  } else if (number == kernels::kE4M3) {
    kv_.k_scales = model_->kv_scales().k.data();
    kv_.v_scales = model_->kv_scales().v.data();
  }
  MM2_RETURN_IF_ERROR(model_->device_model() == nullptr ? take_host_memory(bytes, host)
                                                        : take_device_memory(bytes));
  MM2_RETURN_IF_ERROR(make_sequences(n_blocks));

  const auto max_seqs = static_cast<size_t>(options_.max_seqs);
  step_rows_.resize(max_seqs);
  row_results_.resize(max_seqs);
  positions_.resize(static_cast<size_t>(options_.max_tokens_per_step));
  expert_seen_.resize(static_cast<size_t>(shape.n_experts));
  expert_tokens_.resize(static_cast<size_t>(shape.n_layers) * static_cast<size_t>(shape.n_experts));
  return {};
}

Status Engine::take_host_memory(const MemoryEstimate& bytes, const Host& host) {
  const auto out_of_memory = [&](Status&& status) {
    return std::move(status).in(join("creating the engine: KV pool ", bytes.kv, " bytes, buffers ",
                                     bytes.buffers, " bytes"));
  };
  auto kv = Buffer::make(host.allocator, bytes.kv);
  if (!kv.ok()) return out_of_memory(Status(kv.status()));
  kv_memory_ = *std::move(kv);
  kv_.data = kv_memory_.data();
  const int64_t scratch =
      model_->backend().scratch_bytes(&model_->shape(), options_.max_tokens_per_step,
                                      options_.max_outputs_per_step, executor_->n_workers());
  auto buffer = Buffer::make(host.allocator, static_cast<size_t>(scratch));
  if (!buffer.ok()) return out_of_memory(Status(buffer.status()));
  scratch_ = *std::move(buffer);
  return {};
}

Status Engine::take_device_memory(const MemoryEstimate& bytes) {
  const std::shared_ptr<Device>& device = model_->device_model()->device();
  const auto failed = [&](Status&& status) {
    const bool is_full = status.code() == Code::out_of_memory;
    return std::move(status).in(is_full ? join("creating the engine: on the device a KV pool of ",
                                               bytes.device_kv, " bytes, buffers of ",
                                               bytes.device_buffers, " bytes (",
                                               device->free_memory(), ")")
                                        : std::string("creating the engine"));
  };
  auto kv = DeviceMemory::make(device, bytes.device_kv);
  if (!kv.ok()) return failed(Status(kv.status()));
  device_kv_memory_ = *std::move(kv);
  kv_.data = device_kv_memory_.data();
  kernels::DeviceEngineOptions options = device_options(*model_, options_);
  options.kv = kv_;
  auto engine = DeviceEngine::make(model_->device_model(), options);
  if (!engine.ok()) return failed(Status(engine.status()));
  device_engine_ = *std::move(engine);
  return {};
}

Status Engine::make_sequences(int32_t n_blocks) {
  std::optional<PrefixOptions> prefix;
  if (options_.prefix_cache == PrefixCaching::yes) {
    prefix.emplace().hash = options_.prefix_hash;
    if (getentropy(prefix->secret.data(), prefix->secret.size()) != 0)
      return errno_error("creating the engine: a secret for the prefix cache", errno);
  }
  KvLayout layout{
      kv_memory_.data(),
      kv_.layer_stride,
      kv_.block_stride,
      model_->shape().n_layers,
      n_blocks,
      options_.kv_block_size,
      static_cast<int32_t>(std::min<int64_t>(model_->config().max_positions, INT32_MAX))};
  if (device_engine_ != nullptr) {
    layout.copier = {device_engine_.get(), &copy_device_block};
  }
  sequences_ = std::make_unique<Sequences>(layout, options_.max_seqs, prefix);
  return {};
}

}  // namespace mm2
