#include "capi/engine.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/checked.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host.h"
#include "capi/model.h"
#include "capi/structs.h"

static_assert(sizeof(mm2_seq_rows) == sizeof(mm2::SeqRows));
static_assert(sizeof(mm2_status) == sizeof(mm2::Code));

namespace mm2::capi {
namespace {

struct EngineArguments {
  EngineOptions options;
  Host host;
};

Result<EngineArguments> read_arguments(const mm2_engine_options* from) {
  MM2_ASSIGN_OR_RETURN(const mm2_engine_options o, read_struct(from, "options"));
  MM2_RETURN_IF_ERROR(need_range("options.prefix_cache", o.prefix_cache, MM2_AUTO, MM2_YES));
  MM2_RETURN_IF_ERROR(need_range("options.reserved", o.reserved, 0, 0));
  EngineArguments arguments;
  arguments.options.max_seqs = o.max_seqs;
  arguments.options.max_tokens_per_step = o.max_tokens_per_step;
  arguments.options.max_outputs_per_step = o.max_outputs_per_step;
  arguments.options.kv_tokens = o.kv_tokens;
  arguments.options.kv_block_size = o.kv_block_size;
  arguments.options.kv_dtype = static_cast<KvDtype>(o.kv_dtype);
  arguments.options.kv_scales = static_cast<KvScaleSource>(o.kv_scales);
  arguments.options.activations = static_cast<Activations>(o.activations);
  arguments.options.n_threads = o.n_threads;
  arguments.options.prefix_cache = static_cast<PrefixCaching>(o.prefix_cache);
  arguments.options.device_stream = o.device_stream;
  arguments.options.device_kernels = static_cast<DeviceKernels>(o.device_kernels);
  MM2_ASSIGN_OR_RETURN(arguments.host, read_host(o.host));
  return arguments;
}

mm2_memory memory_of(const MemoryEstimate& estimate) {
  mm2_memory memory{};
  memory.host_weights = estimate.weights;
  memory.host_kv = estimate.kv;
  memory.host_buffers = estimate.buffers;
  memory.load_peak_host = estimate.weights + estimate.load_staging;
  memory.device_weights = memory.load_peak_device = estimate.device_weights;
  memory.device_kv = estimate.device_kv;
  memory.device_buffers = estimate.device_buffers;
  return memory;
}

mm2_engine_info info_of(const Engine& engine) {
  const EngineOptions& o = engine.options();
  mm2_engine_info info{};
  info.max_seqs = o.max_seqs;
  info.max_tokens_per_step = o.max_tokens_per_step;
  info.max_outputs_per_step = o.max_outputs_per_step;
  info.kv_blocks = engine.kv_pool().n_blocks();
  info.kv_tokens = info.kv_blocks * o.kv_block_size;
  info.max_positions = engine.model().config().max_positions;
  info.kv_block_size = o.kv_block_size;
  info.kv_dtype = static_cast<int32_t>(o.kv_dtype);
  info.activations = static_cast<int32_t>(o.activations);
  info.prefix_cache = static_cast<int32_t>(o.prefix_cache);
  info.n_threads = o.n_threads;
  info.device = static_cast<int32_t>(engine.model().device_kind());
  info.isa = isa_of(engine.model().backend());
  info.n_vocab = engine.model().config().n_vocab;
  return info;
}

/// A batch whose arrays are as long as it says; their content is the engine's to check.
Status check_batch(const mm2_batch& batch) {
  MM2_RETURN_IF_ERROR(need_range("batch.n_seqs", batch.n_seqs, 1, INT32_MAX));
  MM2_RETURN_IF_ERROR(need_range("batch.n_tokens", batch.n_tokens, 1, INT32_MAX));
  MM2_RETURN_IF_ERROR(need(batch.seqs, "batch.seqs"));
  MM2_RETURN_IF_ERROR(need(batch.tokens, "batch.tokens"));
  return need_range("batch.reserved", batch.reserved, 0, 0);
}

/// The part of logits that the batch asks for.
Result<std::span<float>> output_span(const mm2_batch& batch, int64_t n_vocab, float* logits,
                                     size_t n_logits) {
  int64_t n_outputs = 0;
  for (int32_t i = 0; i < batch.n_seqs; ++i)
    n_outputs += std::max<int32_t>(batch.seqs[i].n_outputs, 0);
  const auto wanted = checked_mul(n_outputs, n_vocab);
  if (!wanted)
    return error(Code::invalid_argument, "batch asks for ", n_outputs, " rows of logits");
  if (n_outputs == 0) return std::span<float>();
  MM2_RETURN_IF_ERROR(need(logits, "logits"));
  if (n_logits < static_cast<size_t>(*wanted))
    return error(Code::invalid_argument, "n_logits is ", n_logits, ", the batch needs ", n_outputs,
                 " rows of ", n_vocab);
  return std::span<float>(logits, static_cast<size_t>(*wanted));
}

Status run_step(Engine& engine, const mm2_batch& batch, float* logits, size_t n_logits,
                mm2_status* row_status) {
  MM2_RETURN_IF_ERROR(check_batch(batch));
  MM2_ASSIGN_OR_RETURN(const std::span<float> outputs,
                       output_span(batch, engine.model().config().n_vocab, logits, n_logits));
  const auto n_seqs = static_cast<size_t>(batch.n_seqs);
  // The same structs under two names, as the static assertions above and the goldens of tests/abi
  // hold on to.
  const std::span<const SeqRows> rows(reinterpret_cast<const SeqRows*>(batch.seqs), n_seqs);
  const std::span<Code> codes(reinterpret_cast<Code*>(row_status),
                              row_status == nullptr ? 0 : n_seqs);
  const std::span<const int32_t> tokens(batch.tokens, static_cast<size_t>(batch.n_tokens));
  return engine.step(rows, tokens, outputs, codes);
}

}  // namespace
}  // namespace mm2::capi

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_engine_options_init(mm2_engine_options* options, size_t size) {
  return init_struct(options, size);
}

mm2_status mm2_engine_info_init(mm2_engine_info* info, size_t size) {
  return init_struct(info, size);
}

mm2_status mm2_memory_init(mm2_memory* memory, size_t size) {
  return init_struct(memory, size);
}

mm2_status mm2_batch_init(mm2_batch* batch, size_t size) {
  return init_struct(batch, size);
}

mm2_status mm2_engine_estimate(const mm2_model* model, const mm2_engine_options* options,
                               mm2_memory* memory, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(model, "model"));
    MM2_RETURN_IF_ERROR(check_output(memory, "memory"));
    MM2_ASSIGN_OR_RETURN(const EngineArguments given, read_arguments(options));
    MM2_ASSIGN_OR_RETURN(const mm2::MemoryEstimate estimate,
                         mm2::Engine::estimate(*model->model, given.options, given.host));
    write_struct(memory, memory_of(estimate));
    return {};
  });
}

mm2_status mm2_engine_create(const mm2_model* model, const mm2_engine_options* options,
                             mm2_engine** out, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(model, "model"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(const EngineArguments given, read_arguments(options));
    MM2_ASSIGN_OR_RETURN(auto engine, mm2::Engine::create(model->model, given.options, given.host));
    give(out, std::move(engine));
    return {};
  });
}

mm2_status mm2_engine_get_info(const mm2_engine* engine, mm2_engine_info* info, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(check_output(info, "info"));
    write_struct(info, info_of(*engine->engine));
    return {};
  });
}

mm2_status mm2_engine_get_memory(const mm2_engine* engine, mm2_memory* memory, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(check_output(memory, "memory"));
    write_struct(memory, memory_of(engine->engine->memory()));
    return {};
  });
}

mm2_status mm2_engine_step(mm2_engine* engine, const mm2_batch* batch, float* logits,
                           size_t n_logits, mm2_status* row_status, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(need(batch, "batch"));
    MM2_ASSIGN_OR_RETURN(const mm2_batch given, read_struct(batch, "batch"));
    return run_step(*engine->engine, given, logits, n_logits, row_status);
  });
}

void mm2_engine_interrupt(mm2_engine* engine) {
  if (engine != nullptr) engine->engine->interrupt();
}

void mm2_engine_clear_interrupt(mm2_engine* engine) {
  if (engine != nullptr) engine->engine->clear_interrupt();
}

mm2_status mm2_engine_get_stats(const mm2_engine* engine, mm2_buffer* json, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(engine, "engine"));
    MM2_RETURN_IF_ERROR(need(json, "json"));
    json->bytes = engine->engine->stats().dump();
    return {};
  });
}

void mm2_engine_destroy(mm2_engine* engine) {
  delete engine;
}
