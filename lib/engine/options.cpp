// Engine options: defaults, ranges, and the bytes that follow from them.
#include <algorithm>
#include <limits>

#include "base/checked.h"
#include "engine/engine.h"

namespace mm2 {
namespace {

constexpr int32_t kDefaultSeqs = 8;
constexpr int32_t kDefaultTokensPerStep = 512;
constexpr int64_t kDefaultTokensPerSeq = 4096;
constexpr int32_t kMaxSeqs = 65536;
constexpr int32_t kMaxTokensPerStep = 1 << 20;

Status in_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return error(Code::invalid_argument, name, " is ", value, ", allowed are ", low, " to ", high,
               " (0 = the default)");
}

Status check_scales(const Model& model, const EngineOptions& o) {
  if (o.kv_scales != KvScaleSource::checkpoint && o.kv_scales != KvScaleSource::one) {
    return error(Code::invalid_argument, "kv_scales is ", static_cast<int32_t>(o.kv_scales),
                 ", allowed are the MM2_KV_SCALES_* values");
  }
  if (o.kv_dtype != KvDtype::fp8 || o.kv_scales == KvScaleSource::one) return {};
  if (!model.kv_scales().empty()) return {};
  return error(Code::unsupported, "kv_dtype is fp8, and ", model.checkpoint().folder(),
               " has no scales for it (as model.layers.0.self_attn.k_scale or k_proj.k_scale); "
               "kv_scales one takes 1 for every layer");
}

Status resolve_numbers(const Model& model, EngineOptions& o) {
  const bool is_f64 = model.backend().real == kernels::kF64;
  switch (o.activations) {
    case Activations::automatic:
      o.activations =
          model.default_activations() == kernels::kBF16 ? Activations::bf16 : Activations::f32;
      break;
    case Activations::bf16:
    case Activations::f32:
      break;
    case Activations::int8:
      if (is_f64) {
        return error(Code::unsupported, "activations is int8, and isa reference-f64 rounds none");
      }
      break;
    default:
      return error(Code::invalid_argument, "activations is ", static_cast<int32_t>(o.activations),
                   ", allowed are the MM2_ACTIVATIONS_* values");
  }
  switch (o.kv_dtype) {
    case KvDtype::automatic:
      o.kv_dtype = o.activations != Activations::f32 && !is_f64 ? KvDtype::bf16 : KvDtype::f32;
      break;
    case KvDtype::f32:
    case KvDtype::bf16:
      break;
    case KvDtype::fp8:
      break;
    default:
      return error(Code::invalid_argument, "kv_dtype is ", static_cast<int32_t>(o.kv_dtype),
                   ", allowed are the MM2_KV_* values");
  }
  return check_scales(model, o);
}

Status check_device(const Model& model, const EngineOptions& o) {
  if (o.device_kernels != DeviceKernels::fast && o.device_kernels != DeviceKernels::simple) {
    return error(Code::invalid_argument, "device_kernels is ",
                 static_cast<int32_t>(o.device_kernels),
                 ", allowed are the MM2_DEVICE_KERNELS_* values");
  }
  if (model.device_kind() != DeviceKind::cpu) return {};
  if (o.device_stream != nullptr) {
    return error(Code::invalid_argument, "device_stream is given, and the model is on the CPU");
  }
  return {};
}

}  // namespace

Result<EngineOptions> Engine::resolve(const Model& model, const EngineOptions& options,
                                      const Host& host) {
  EngineOptions o = options;
  const int64_t max_positions = model.config().max_positions;
  if (o.max_seqs == 0) o.max_seqs = kDefaultSeqs;
  MM2_RETURN_IF_ERROR(in_range("max_seqs", o.max_seqs, 1, kMaxSeqs));
  if (o.max_tokens_per_step == 0) o.max_tokens_per_step = kDefaultTokensPerStep;
  MM2_RETURN_IF_ERROR(in_range("max_tokens_per_step", o.max_tokens_per_step, 1, kMaxTokensPerStep));
  if (o.max_outputs_per_step == 0) o.max_outputs_per_step = o.max_tokens_per_step;
  MM2_RETURN_IF_ERROR(
      in_range("max_outputs_per_step", o.max_outputs_per_step, 1, o.max_tokens_per_step));
  if (o.kv_block_size == 0) o.kv_block_size = kernels::kAttentionBlock;
  MM2_RETURN_IF_ERROR(in_range("kv_block_size", o.kv_block_size, kernels::kAttentionBlock, 4096));
  if (o.kv_block_size % kernels::kAttentionBlock != 0) {
    return error(Code::invalid_argument, "kv_block_size is ", o.kv_block_size,
                 ", it must be a multiple of ", kernels::kAttentionBlock);
  }
  if (o.kv_tokens == 0) o.kv_tokens = o.max_seqs * std::min(kDefaultTokensPerSeq, max_positions);
  MM2_RETURN_IF_ERROR(in_range("kv_tokens", o.kv_tokens, 1, int64_t{1} << 40));
  const int64_t n_blocks = ceil_div<int64_t>(o.kv_tokens, o.kv_block_size);
  if (n_blocks > std::numeric_limits<int32_t>::max()) {
    return error(Code::invalid_argument, "kv_tokens is ", o.kv_tokens, ": ", n_blocks,
                 " blocks, at most 2147483647 are possible; choose a larger kv_block_size");
  }
  o.kv_tokens = n_blocks * o.kv_block_size;
  if (host.executor != nullptr) {
    o.n_threads = host.executor->n_workers();
  } else if (o.n_threads == 0) {
    o.n_threads = usable_cores();
  }
  MM2_RETURN_IF_ERROR(in_range("n_threads", o.n_threads, 1, 1024));
  MM2_RETURN_IF_ERROR(check_device(model, o));
  if (o.prefix_cache == PrefixCaching::automatic) o.prefix_cache = PrefixCaching::yes;
  MM2_RETURN_IF_ERROR(resolve_numbers(model, o));
  return o;
}

Result<MemoryEstimate> Engine::estimate(const Model& model, const EngineOptions& options,
                                        const Host& host) {
  MM2_ASSIGN_OR_RETURN(const EngineOptions o, resolve(model, options, host));
  const kernels::ModelShape& shape = model.shape();
  const int64_t n_blocks = o.kv_tokens / o.kv_block_size;
  const int64_t block =
      model.backend().kv_block_bytes(&shape, o.kv_block_size, kv_number(model, o));
  const auto layer = checked_mul(block, n_blocks);
  const auto kv = layer ? checked_mul<int64_t>(*layer, shape.n_layers) : std::nullopt;
  if (!kv) {
    return error(Code::invalid_argument, "kv_tokens is ", o.kv_tokens,
                 ": the pool's bytes do not fit in 64 bits");
  }
  MemoryEstimate m;
  const bool on_device = model.device_kind() != DeviceKind::cpu;
  m.weights = model.weight_bytes().owned + model.weight_bytes().mapped;
  m.device_weights = model.weight_bytes().device;
  m.load_staging = model.weight_bytes().staging;
  (on_device ? m.device_kv : m.kv) = static_cast<uint64_t>(*kv);
  if (on_device) {
    const kernels::DeviceEngineOptions wanted = device_options(model, o);
    m.device_buffers = static_cast<uint64_t>(model.plugin()->table().engine_bytes(&shape, &wanted));
  } else {
    m.buffers = static_cast<uint64_t>(model.backend().scratch_bytes(
        &shape, o.max_tokens_per_step, o.max_outputs_per_step, o.n_threads));
  }
  m.buffers += static_cast<uint64_t>(
      Sequences::table_bytes(n_blocks, o.kv_block_size, o.max_seqs, model.config().max_positions,
                             o.prefix_cache == PrefixCaching::yes) +
      // The rows and positions of a step.
      o.max_seqs * static_cast<int64_t>(sizeof(kernels::StepRow) + 4) +
      int64_t{o.max_tokens_per_step} * 4 + shape.n_experts +
      (has_unit_scales(o) ? int64_t{shape.n_layers} * shape.n_kv_heads * 4 : 0));
  return m;
}

int32_t Engine::kernel_activations(const Model& model, const EngineOptions& options) {
  if (model.backend().real == kernels::kF64) return kernels::kF64;
  return options.activations == Activations::bf16   ? kernels::kBF16
         : options.activations == Activations::int8 ? kernels::kI8
                                                    : kernels::kF32;
}

// All but where the cache and its scales are.
kernels::DeviceEngineOptions Engine::device_options(const Model& model, const EngineOptions& o) {
  kernels::DeviceEngineOptions to{};
  const int32_t number = kv_number(model, o);
  const int64_t n_blocks = o.kv_tokens / o.kv_block_size;
  const int64_t block = model.backend().kv_block_bytes(&model.shape(), o.kv_block_size, number);
  to.kv = {nullptr, block * n_blocks, block, o.kv_block_size, number};
  to.n_blocks = static_cast<int32_t>(n_blocks);
  to.max_tokens = o.max_tokens_per_step;
  to.max_outputs = o.max_outputs_per_step;
  to.max_rows = o.max_seqs;
  to.max_positions = static_cast<int32_t>(
      std::min<int64_t>({model.config().max_positions, o.kv_tokens, INT32_MAX}));
  to.activations = kernel_activations(model, o);
  to.kernels = static_cast<int32_t>(o.device_kernels);
  to.stream = o.device_stream;
  return to;
}

bool Engine::has_unit_scales(const EngineOptions& options) {
  return options.kv_dtype == KvDtype::fp8 && options.kv_scales == KvScaleSource::one;
}

int32_t Engine::kv_number(const Model& model, const EngineOptions& options) {
  if (options.kv_dtype == KvDtype::fp8) return kernels::kE4M3;
  if (model.backend().real == kernels::kF64) return kernels::kF64;
  return options.kv_dtype == KvDtype::bf16 ? kernels::kBF16 : kernels::kF32;
}

}  // namespace mm2
