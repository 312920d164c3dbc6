// A device plug-in that is the generic CPU kernels behind the device table, with addresses that the
// host cannot follow, little memory, and failures when a test wants them.
#include "support/fake_device/fake_device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

#if !defined(MM2_FAKE_VERSION)
#define MM2_FAKE_VERSION mm2::kernels::kPluginVersion
#endif

// The structs of the table are incomplete elsewhere.
namespace mm2::kernels {

struct Device {
  int32_t index;
};

struct DeviceModel {
  ModelShape shape;
  ModelWeights weights;
  std::vector<LayerWeights> layers;
  std::vector<ExpertWeights> experts;
};

struct DeviceEngine {
  const DeviceModel* model;
  KvCache kv;
  std::vector<char> scratch;
  int32_t n_steps = 0;
};

}  // namespace mm2::kernels

namespace {

using namespace mm2::kernels;

FakeDevice& state() {
  static FakeDevice fake;
  return fake;
}

std::mutex& guard() {
  static std::mutex mutex;
  return mutex;
}

template <typename T>
T* host(T* device) {
  return reinterpret_cast<T*>(reinterpret_cast<uint64_t>(device) - kFakeAddress);
}

int32_t fail(DeviceError* error, int32_t code, int32_t native, const char* text) {
  *error = {code, native, {}};
  std::snprintf(error->text, sizeof error->text, "%s", text);
  return code;
}

// The code that a test wants from this call, or 0. A lost device stays lost.
int32_t refusal(const char* function, DeviceError* error) {
  std::lock_guard lock(guard());
  FakeDevice& fake = state();
  if (fake.failing == nullptr) return kDeviceOk;
  const bool is_it = std::string_view(fake.failing) == function;
  if (is_it && fake.n_calls++ == fake.fails_at) {
    return fail(error, fake.code, 700 + fake.code, "a failure that was asked for");
  }
  const bool was_lost = fake.code == kDeviceLost && fake.n_calls > fake.fails_at;
  return was_lost ? fail(error, kDeviceLost, 719, "still lost") : int32_t{kDeviceOk};
}

void count(int32_t change) {
  std::lock_guard lock(guard());
  state().n_objects += change;
}

Matrix on_host(Matrix m) {
  m.data = host(m.data);
  return m;
}

const Executor* alone() {
  static const Executor executor{
      nullptr, 1, [](void*, int32_t n, void (*task)(void*, int32_t, int32_t), void* context) {
        for (int32_t i = 0; i < n; ++i) task(context, i, 0);
      }};
  return &executor;
}

char* aligned(std::vector<char>& bytes) {
  return bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
}

int32_t count_devices(int32_t* n, DeviceError* error) {
  if (const int32_t code = refusal("count", error)) return code;
  if (state().n_devices == 0) return fail(error, kDeviceNone, 35, "there is no driver");
  *n = state().n_devices;
  return kDeviceOk;
}

int32_t info(int32_t index, DeviceInfo* to, DeviceError* error) {
  if (const int32_t code = refusal("info", error)) return code;
  *to = {};
  std::snprintf(to->name, sizeof to->name, "Fake %d", index);
  to->major = 9;
  to->n_multiprocessors = 2;
  to->driver_version = to->runtime_version = 13000;
  std::lock_guard lock(guard());
  to->memory_bytes = state().memory_bytes;
  to->free_bytes = state().memory_bytes - state().used_bytes;
  return kDeviceOk;
}

int32_t open(int32_t index, Device** to, DeviceError* error) {
  if (const int32_t code = refusal("open", error)) return code;
  *to = new Device{index};
  count(1);
  return kDeviceOk;
}

void close(Device* device) {
  delete device;
  count(-1);
}

int32_t allocate(Device*, int64_t n, void** to, DeviceError* error) {
  if (const int32_t code = refusal("allocate", error)) return code;
  std::lock_guard lock(guard());
  FakeDevice& fake = state();
  if (n > fake.memory_bytes - fake.used_bytes) {
    return fail(error, kDeviceOutOfMemory, 2, "out of memory");
  }
  auto* block =
      static_cast<char*>(std::aligned_alloc(256, static_cast<size_t>(n + 511) / 256 * 256));
  std::memcpy(block, &n, sizeof n);
  fake.used_bytes += n;
  ++fake.n_objects;
  *to = reinterpret_cast<void*>(reinterpret_cast<uint64_t>(block + 256) + kFakeAddress);
  return kDeviceOk;
}

void release(Device*, void* device) {
  char* block = static_cast<char*>(host(device)) - 256;
  int64_t n;
  std::memcpy(&n, block, sizeof n);
  std::free(block);
  std::lock_guard lock(guard());
  state().used_bytes -= n;
  --state().n_objects;
}

int32_t copy_to(Device*, void* device, const void* from, int64_t n, DeviceError* error) {
  if (const int32_t code = refusal("copy_to", error)) return code;
  std::memcpy(host(device), from, static_cast<size_t>(n));
  return kDeviceOk;
}

int32_t copy_from(Device*, void* to, const void* device, int64_t n, DeviceError* error) {
  if (const int32_t code = refusal("copy_from", error)) return code;
  std::memcpy(to, host(device), static_cast<size_t>(n));
  return kDeviceOk;
}

int32_t pack(Device*, const MatrixRows* rows, void* device, DeviceError* error) {
  if (const int32_t code = refusal("pack", error)) return code;
  generic_backend()->pack(rows, host(device));
  return kDeviceOk;
}

int32_t make_model(Device*, const ModelShape* shape, const ModelWeights* w, DeviceModel** to,
                   DeviceError* error) {
  if (const int32_t code = refusal("make_model", error)) return code;
  auto* model = new DeviceModel{*shape, *w, {}, {}};
  const auto n_experts = static_cast<size_t>(shape->n_experts);
  model->experts.reserve(static_cast<size_t>(shape->n_layers) * n_experts);
  for (int32_t l = 0; l < shape->n_layers; ++l) {
    LayerWeights layer = w->layers[l];
    for (Matrix* m : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.router}) *m = on_host(*m);
    for (const float** v : {&layer.input_norm, &layer.q_norm, &layer.k_norm,
                            &layer.post_attention_norm, &layer.router_bias}) {
      *v = host(*v);
    }
    const ExpertWeights* first = model->experts.data() + model->experts.size();
    for (size_t i = 0; i < n_experts; ++i) {
      const ExpertWeights& e = w->layers[l].experts[i];
      model->experts.push_back({on_host(e.gate), on_host(e.up), on_host(e.down)});
    }
    layer.experts = first;
    model->layers.push_back(layer);
  }
  model->weights = {on_host(w->embedding), model->layers.data(), host(w->final_norm),
                    on_host(w->lm_head)};
  *to = model;
  count(1);
  return kDeviceOk;
}

void free_model(DeviceModel* model) {
  delete model;
  count(-1);
}

int32_t make_engine(DeviceModel* model, const DeviceEngineOptions* o, DeviceEngine** to,
                    DeviceError* error) {
  if (const int32_t code = refusal("make_engine", error)) return code;
  auto* engine = new DeviceEngine{model, o->kv, {}, 0};
  engine->kv.data = host(o->kv.data);
  engine->scratch.resize(static_cast<size_t>(generic_backend()->scratch_bytes(
                             &model->shape, o->max_tokens, o->max_outputs, 1)) +
                         64);
  state().stream = o->stream;
  state().kernels = o->kernels;
  *to = engine;
  count(1);
  return kDeviceOk;
}

void free_engine(DeviceEngine* engine) {
  delete engine;
  count(-1);
}

int32_t step(DeviceEngine* engine, const StepPlan* plan, DeviceError* error) {
  if (const int32_t code = refusal("step", error)) return code;
  StepPlan here = *plan;
  here.weights = &engine->model->weights;
  here.kv = &engine->kv;
  here.scratch = aligned(engine->scratch);
  here.executor = alone();
  ++engine->n_steps;
  if (generic_backend()->step(&here) == kStepDone) {
#if defined(MM2_FAKE_WRONG)
    if (plan->logits != nullptr) plan->logits[0] *= 1.001f;
#endif
    return kDeviceOk;
  }
  return fail(error, kDeviceInterrupted, 0, "");
}

int32_t copy_block(DeviceEngine* engine, int32_t from, int32_t to, DeviceError* error) {
  if (const int32_t code = refusal("copy_block", error)) return code;
  const KvCache& kv = engine->kv;
  for (int32_t layer = 0; layer < engine->model->shape.n_layers; ++layer) {
    char* base = static_cast<char*>(kv.data) + layer * kv.layer_stride;
    std::memcpy(base + to * kv.block_stride, base + from * kv.block_stride,
                static_cast<size_t>(kv.block_stride));
  }
  return kDeviceOk;
}

int32_t read_positions(DeviceEngine* engine, const StepRow* row, int64_t first, int64_t n, void* to,
                       DeviceError* error) {
  if (const int32_t code = refusal("read_positions", error)) return code;
  generic_backend()->read_positions(&engine->kv, &engine->model->shape, row, first, n, to);
  return kDeviceOk;
}

int32_t write_positions(DeviceEngine* engine, const StepRow* row, int64_t first, int64_t n,
                        const void* from, DeviceError* error) {
  if (const int32_t code = refusal("write_positions", error)) return code;
  generic_backend()->write_positions(&engine->kv, &engine->model->shape, row, first, n, from);
  return kDeviceOk;
}

int64_t engine_bytes(const ModelShape* shape, const DeviceEngineOptions* o) {
  return generic_backend()->scratch_bytes(shape, o->max_tokens, o->max_outputs, 1) +
         int64_t{o->n_blocks} * 4;
}

const char* describe(DeviceEngine* engine) {
  return engine->n_steps == 0 ? "{\"kernels\": \"none\"}" : "{\"kernels\": \"fake\"}";
}

const Backend* backend() {
  static const Backend table = [] {
    Backend b = *generic_backend();
    b.name = "fake";
    b.keeps_file_layout = false;
    b.step = nullptr;
    b.ops = nullptr;
    b.read_positions = nullptr;
    b.write_positions = nullptr;
    return b;
  }();
  return &table;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) FakeDevice* mm2_fake_device() {
  return &state();
}

extern "C" __attribute__((visibility("default"))) const Plugin* mm2_device_plugin() {
  static const Plugin table = {MM2_FAKE_VERSION,
                               sizeof(Plugin),
                               "cuda",
                               backend(),
                               count_devices,
                               info,
                               open,
                               close,
                               allocate,
                               release,
                               copy_to,
                               copy_from,
                               pack,
                               make_model,
                               free_model,
                               make_engine,
                               free_engine,
                               step,
                               copy_block,
                               read_positions,
                               write_positions,
                               describe,
                               engine_bytes};
  return &table;
}
