#include "kernels/cuda/plugin/engine.h"

#include <string.h>

#include <new>

namespace mm2::kernels::cuda {
namespace {

/// Positions that pass between host and cache at a time: this many bytes of them, or one.
constexpr int64_t kStagingBytes = int64_t{8} << 20;
/// Multiprocessors for which memory is planned, whatever the device has; of more no use is made.
constexpr int32_t kPlannedMultiprocessors = 132;

DeviceLimits limits_of(const DeviceEngineOptions& o, int32_t n_multiprocessors) {
  return {o.max_tokens, o.max_outputs, o.max_rows, o.max_positions, n_multiprocessors};
}

int64_t blocks_of_row(const DeviceEngineOptions& o) {
  return (int64_t{o.max_positions} + o.kv.block_size - 1) / o.kv.block_size;
}

int64_t n_scales(const ModelShape& s) {
  return int64_t{s.n_layers} * s.n_kv_heads;
}

// Scales of keys, then of values, behind the results in pinned memory.
float* host_scales(const DeviceEngine& e) {
  return reinterpret_cast<float*>(e.pinned + e.room.inputs_end + int64_t{e.options.max_rows} * 4);
}

// Every pointer that is the same for all steps.
void fill_step(DeviceEngine* e) {
  const EngineRoom& r = e->room;
  DeviceStep& step = e->step;
  const auto floats = [&](int64_t at) { return reinterpret_cast<float*>(e->memory + at); };
  const auto ints = [&](int64_t at) { return reinterpret_cast<int32_t*>(e->memory + at); };
  step.weights = &e->model->weights;
  step.stream = e->stream;
  step.rows = reinterpret_cast<const DeviceRow*>(e->memory + r.rows);
  step.host_rows = reinterpret_cast<const DeviceRow*>(e->pinned + r.rows);
  step.tokens = ints(r.tokens);
  step.positions = ints(r.positions);
  step.token_rows = ints(r.token_rows);
  step.output_tokens = ints(r.output_tokens);
  step.row_results = ints(r.results);
  const KvCache& kv = e->options.kv;
  const ModelShape& s = e->model->weights.shape;
  const bool scales = kv.number == kE4M3;
  step.kv = {static_cast<char*>(kv.data),
             kv.layer_stride,
             kv.block_stride,
             kv_layout_of(s, kv.block_size, kv.number),
             scales ? floats(r.k_scales) : nullptr,
             scales ? floats(r.v_scales) : nullptr,
             scales ? host_scales(*e) : nullptr,
             scales ? host_scales(*e) + n_scales(s) : nullptr,
             ints(r.blocks)};
  step.buffers = {floats(r.h),       floats(r.x),      floats(r.rope),       floats(r.q),
                  floats(r.kv_work), floats(r.attn),   ints(r.ids),          floats(r.weights),
                  floats(r.outputs), floats(r.logits), e->memory + r.scratch};
  const int32_t n = e->device->n_multiprocessors;
  step.limits = limits_of(e->options, n < kPlannedMultiprocessors ? n : kPlannedMultiprocessors);
}

int32_t check_options(const ModelShape& s, const DeviceEngineOptions& o, DeviceError* error) {
  const KvCache& kv = o.kv;
  if (o.max_tokens < 1 || o.max_outputs < 0 || o.max_rows < 1 || o.max_positions < 1 ||
      o.n_blocks < 1 || o.max_rows > o.max_tokens || o.max_outputs > o.max_tokens) {
    return refuse(
        error, kDeviceFailed,
        "CUDA: an engine for steps of %d tokens, %d rows, %d outputs, %d positions and %d "
        "blocks",
        o.max_tokens, o.max_rows, o.max_outputs, o.max_positions, o.n_blocks);
  }
  if (kv.number != kF32 && kv.number != kBF16 && kv.number != kE4M3) {
    return refuse(error, kDeviceUnsupported, "CUDA: no kernels for a cache of number %d",
                  kv.number);
  }
  if (kv.block_size < kAttentionBlock || kv.block_size % kAttentionBlock != 0) {
    return refuse(error, kDeviceUnsupported,
                  "CUDA: blocks of the cache have %d positions, a multiple of %d is wanted",
                  kv.block_size, kAttentionBlock);
  }
  const int64_t block = kv_layout_of(s, kv.block_size, kv.number).block_bytes;
  if (kv.data == nullptr || kv.block_stride < block || kv.block_stride % 16 != 0 ||
      kv.layer_stride % 16 != 0) {
    return refuse(error, kDeviceFailed,
                  "CUDA: blocks of the cache are %lld bytes apart, at least %lld are wanted, a "
                  "multiple of 16",
                  static_cast<long long>(kv.block_stride), static_cast<long long>(block));
  }
  if (kv.number == kE4M3 && (kv.k_scales == nullptr || kv.v_scales == nullptr)) {
    return refuse(error, kDeviceFailed, "CUDA: a cache of E4M3 without scales");
  }
  return kDeviceOk;
}

int32_t send_scales(DeviceEngine* e, DeviceError* error) {
  const ModelShape& s = e->model->weights.shape;
  if (e->options.kv.number != kE4M3) return kDeviceOk;
  const int64_t n = n_scales(s) * 4;
  memcpy(host_scales(*e), e->options.kv.k_scales, static_cast<size_t>(n));
  memcpy(host_scales(*e) + n_scales(s), e->options.kv.v_scales, static_cast<size_t>(n));
  const int32_t code =
      copy_to(e->device, e->memory + e->room.k_scales, e->options.kv.k_scales, n, error);
  if (code != kDeviceOk) return code;
  return copy_to(e->device, e->memory + e->room.v_scales, e->options.kv.v_scales, n, error);
}

int32_t make_states(DeviceEngine* e, DeviceError* error) {
  DeviceStep largest = e->step;
  largest.n_tokens = e->options.max_tokens;
  largest.n_rows = e->options.max_rows;
  largest.n_outputs = e->options.max_outputs;
  largest.activations = kBF16;
  for (int32_t i = 0; i < e->tables.n; ++i) {
    const DeviceOps& ops = *e->tables.ops[i];
    if (ops.make_state == nullptr) continue;
    const int32_t code = judge(ops.make_state(largest, &e->tables.states[i]), error,
                               &e->device->lost, "preparing %s kernels", ops.name);
    if (code != kDeviceOk) return code;
  }
  return kDeviceOk;
}

int32_t fill_engine(DeviceEngine* e, DeviceError* error) {
  Device* device = e->device;
  const Current current(*device);
  void* memory = nullptr;
  int32_t code = take_memory(device, e->room.bytes, &memory, "an engine's buffers", error);
  if (code != kDeviceOk) return code;
  e->memory = static_cast<char*>(memory);
  const int64_t pinned =
      e->room.inputs_end + int64_t{e->options.max_rows} * 4 + n_scales(e->model->weights.shape) * 8;
  code = judge(cudaHostAlloc(&memory, static_cast<size_t>(pinned), cudaHostAllocDefault), error,
               &device->lost, "%lld bytes of pinned memory of the host for an engine",
               static_cast<long long>(pinned));
  if (code != kDeviceOk) return code;
  e->pinned = static_cast<char*>(memory);
  cudaError_t result = cudaSuccess;
  if (e->owns_stream) result = cudaStreamCreateWithFlags(&e->stream, cudaStreamNonBlocking);
  for (cudaEvent_t& event : e->layers) {
    if (result == cudaSuccess) result = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  }
  code = judge(result, error, &device->lost, "a stream for an engine");
  if (code != kDeviceOk) return code;
  fill_step(e);
  code = send_scales(e, error);
  e->options.kv.k_scales = e->options.kv.v_scales = nullptr;  // the host's, not needed any more
  return code == kDeviceOk ? make_states(e, error) : code;
}

}  // namespace

EngineRoom room_of(const ModelShape& s, const DeviceEngineOptions& o) {
  EngineRoom r{};
  const auto take = [&](int64_t n, int64_t size) {
    const int64_t at = r.bytes;
    r.bytes += (n * size + 255) / 256 * 256;
    return at;
  };
  const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
  const int64_t tokens = o.max_tokens, heads = int64_t{s.n_layers} * s.n_kv_heads;
  r.n_table_blocks = o.max_rows * blocks_of_row(o);
  r.tokens = take(tokens, 4);
  r.positions = take(tokens, 4);
  r.token_rows = take(tokens, 4);
  r.output_tokens = take(o.max_outputs, 4);
  r.rows = take(o.max_rows, sizeof(DeviceRow));
  r.blocks = take(r.n_table_blocks, 4);
  r.inputs_end = r.bytes;
  r.results = take(o.max_rows, 4);
  r.ids = take(int64_t{s.n_layers} * tokens * s.top_k, 4);
  r.k_scales = take(heads, 4);
  r.v_scales = take(heads, 4);
  const int64_t position_bytes = 2 * heads * s.head_dim * bytes_of(o.kv.number);
  r.staging_positions = kStagingBytes > position_bytes ? kStagingBytes / position_bytes : 1;
  if (r.staging_positions > o.max_positions) r.staging_positions = o.max_positions;
  r.staging = take(r.staging_positions, position_bytes);
  r.h = take(tokens * s.hidden, 4);
  r.x = take(tokens * s.hidden, 4);
  r.rope = take(tokens * s.rotary_dim, 4);
  r.q = take(tokens * q, 4);
  r.kv_work = take(tokens * 2 * kv, 4);
  r.attn = take(tokens * q, 4);
  r.weights = take(tokens * s.top_k, 4);
  r.outputs = take(int64_t{o.max_outputs} * s.hidden, 4);
  r.logits = take(int64_t{o.max_outputs} * s.n_vocab, 4);
  const DeviceLimits limits = limits_of(o, kPlannedMultiprocessors);
  const Tables tables = tables_of(o.kernels);
  int64_t scratch = 0;
  for (int32_t i = 0; i < tables.n; ++i) {
    const int64_t n = tables.ops[i]->scratch_bytes(s, limits);
    if (n > scratch) scratch = n;
  }
  r.scratch = take(scratch, 1);
  return r;
}

int64_t engine_bytes(const ModelShape* shape, const DeviceEngineOptions* options) {
  return room_of(*shape, *options).bytes;
}

int32_t make_engine(DeviceModel* model, const DeviceEngineOptions* options, DeviceEngine** engine,
                    DeviceError* error) {
  *engine = nullptr;
  int32_t code = check_usable(*model->device, error);
  if (code == kDeviceOk) code = check_options(model->weights.shape, *options, error);
  if (code != kDeviceOk) return code;
  DeviceEngine* made = new (std::nothrow) DeviceEngine{};
  if (made == nullptr) return refuse(error, kDeviceOutOfMemory, "CUDA: no memory of the host");
  made->device = model->device;
  made->model = model;
  made->options = *options;
  made->room = room_of(model->weights.shape, *options);
  made->tables =
      tables_of_model(options->kernels, *model->device, model->weights, options->kv.number);
  made->stream = static_cast<cudaStream_t>(options->stream);
  made->owns_stream = options->stream == nullptr;
  code = fill_engine(made, error);
  if (code != kDeviceOk) {
    free_engine(made);
    return code;
  }
  *engine = made;
  return kDeviceOk;
}

void free_engine(DeviceEngine* engine) {
  if (engine == nullptr) return;
  {
    const Current current(*engine->device);
    for (int32_t i = 0; i < engine->tables.n; ++i) {
      const DeviceOps& ops = *engine->tables.ops[i];
      if (ops.free_state != nullptr && engine->tables.states[i] != nullptr) {
        ops.free_state(engine->tables.states[i]);
      }
    }
    for (const cudaEvent_t event : engine->layers) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    if (engine->owns_stream && engine->stream != nullptr) cudaStreamDestroy(engine->stream);
    if (engine->pinned != nullptr) cudaFreeHost(engine->pinned);
    if (engine->memory != nullptr) cudaFree(engine->memory);
    (void)cudaGetLastError();
  }
  delete engine;
}

}  // namespace mm2::kernels::cuda
