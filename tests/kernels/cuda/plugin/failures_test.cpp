// Whatever can fail: a code, a sentence, nothing taken.
#include "kernels/cuda/plugin/two_models.h"

using namespace support;

namespace {

const int32_t kBlocks[] = {4, 1, 6};

struct Fixture {
  explicit Fixture(const cuda_emulator::Settings& settings = {})
      : emulated(settings),
        random(91),
        model(random, odd_shape(), plain(kBF16), device.get()),
        engines(model, device.get(), kBF16) {
    tokens.add({1, 2, 3}, 0, 1, kBlocks);
  }
  std::string text_of(const StepPlan& plan, int32_t code) {
    const Outcome outcome = engines.on_device(plan);
    CHECK(outcome.code == code);
    return outcome.text;
  }
  Emulated emulated;
  OpenDevice device;
  Random random;
  TwoModels model;
  TwoEngines engines;
  Tokens tokens;
};

}  // namespace

TEST_CASE("cuda plugin failures: no room for weights says how much there is, and takes nothing") {
  cuda_emulator::Settings settings;
  settings.memory_bytes = 1000;
  const Emulated emulated(settings);
  const OpenDevice device;
  void* memory = &settings;
  DeviceError error{};
  CHECK(plugin().allocate(device.get(), 1001, &memory, &error) == kDeviceOutOfMemory);
  CHECK(memory == nullptr);
  CHECK(error.native == 2);
  CHECK(std::string(error.text) ==
        "CUDA: device 0 has no room for 1001 bytes of weights or cache: 1000 of its 1000 bytes are "
        "free");
  CHECK(plugin().allocate(device.get(), 1000, &memory, &error) == kDeviceOk);
  plugin().release(device.get(), memory);
  CHECK(plugin().allocate(device.get(), -1, &memory, &error) == kDeviceFailed);
}

TEST_CASE("cuda plugin failures: no room for an engine takes nothing, wherever memory ends") {
  Fixture f;
  DeviceModel* model = f.model.device_model();
  const auto before = f.emulated.counts();
  const int64_t bytes = plugin().engine_bytes(&f.model.shape, &f.engines.options);
  cuda_emulator::Settings settings;
  settings.memory_bytes = static_cast<size_t>(before.allocated_bytes + bytes - 1);
  EmulatedPlugin::control().set(settings);
  DeviceEngine* engine = nullptr;
  DeviceError error{};
  CHECK(plugin().make_engine(model, &f.engines.options, &engine, &error) == kDeviceOutOfMemory);
  CHECK(engine == nullptr);
  CHECK_THAT(error.text, Catch::Contains("bytes of an engine's buffers"));
  settings.memory_bytes += 1;
  settings.pinned_bytes = static_cast<size_t>(before.pinned_bytes) + 64;
  EmulatedPlugin::control().set(settings);
  CHECK(plugin().make_engine(model, &f.engines.options, &engine, &error) == kDeviceOutOfMemory);
  CHECK_THAT(error.text, Catch::Contains("pinned memory of the host"));
  CHECK(f.emulated.counts().allocated_bytes == before.allocated_bytes);
  CHECK(f.emulated.counts().streams == before.streams);
  settings.pinned_bytes = size_t{1} << 40;
  EmulatedPlugin::control().set(settings);
  CHECK(plugin().make_engine(model, &f.engines.options, &engine, &error) == kDeviceOk);
  plugin().free_engine(engine);
  CHECK(f.emulated.counts().allocated_bytes == before.allocated_bytes);
}

TEST_CASE("cuda plugin failures: a kernel that fails loses the device, and later calls say so") {
  Fixture f;
  const StepPlan plan = f.tokens.plan(kBF16);
  CHECK(f.engines.on_device(plan).code == kDeviceOk);
  cuda_emulator::Settings settings;
  settings.fail_at_launch = 7;
  EmulatedPlugin::control().set(settings);
  CHECK_THAT(f.text_of(plan, kDeviceLost), Catch::Contains("cudaErrorLaunchFailure, 719"));
  // The emulator works again, the device is lost all the same.
  EmulatedPlugin::control().set({});
  CHECK_THAT(f.text_of(plan, kDeviceLost), Catch::Contains("failed in an earlier call"));
  void* memory = nullptr;
  DeviceError error{};
  CHECK(plugin().allocate(f.device.get(), 16, &memory, &error) == kDeviceLost);
  CHECK(plugin().copy_to(f.device.get(), &memory, &memory, 8, &error) == kDeviceLost);
  CHECK(error.native == 719);
}

TEST_CASE("cuda plugin failures: steps that the engine is not for are refused, the next one runs") {
  Fixture f;
  const StepPlan good = f.tokens.plan(kBF16);
  StepPlan plan = good;
  plan.activations = kI8;
  CHECK_THAT(f.text_of(plan, kDeviceUnsupported), Catch::Contains("activations of number 7"));
  plan = good;
  plan.n_tokens = 33;
  CHECK_THAT(f.text_of(plan, kDeviceFailed), Catch::Contains("33 tokens"));
  Tokens bad;
  bad.add({1, 11}, 0, 1, kBlocks);
  CHECK_THAT(f.text_of(bad.plan(kBF16), kDeviceFailed),
             Catch::Contains("token 1 of the step is 11 of a vocabulary of 11"));
  const int32_t blocks[] = {8, 1};
  Tokens outside;
  outside.add({1}, 0, 1, blocks);
  CHECK_THAT(f.text_of(outside.plan(kBF16), kDeviceFailed),
             Catch::Contains("block 0 of row 0 is 8 of 8"));
  Tokens late;
  late.add({1}, 512, 1, kBlocks);
  CHECK_THAT(f.text_of(late.plan(kBF16), kDeviceFailed), Catch::Contains("at most 512"));
  Tokens shifted = f.tokens;
  shifted.positions[1] = 7;
  CHECK_THAT(f.text_of(shifted.plan(kBF16), kDeviceFailed),
             Catch::Contains("at position 7, not 1"));
  CHECK(f.engines.on_device(good).code == kDeviceOk);
}

TEST_CASE("cuda plugin failures: engines, models and weights that make no sense are refused") {
  Fixture f;
  DeviceEngine* engine = nullptr;
  DeviceModel* model = nullptr;
  DeviceError error{};
  DeviceEngineOptions options = f.engines.options;
  options.kv.block_size = 32;
  CHECK(plugin().make_engine(f.model.device_model(), &options, &engine, &error) ==
        kDeviceUnsupported);
  options = f.engines.options;
  options.kv.number = kF16;
  CHECK(plugin().make_engine(f.model.device_model(), &options, &engine, &error) ==
        kDeviceUnsupported);
  options = f.engines.options;
  options.kv.block_stride -= 16;
  CHECK(plugin().make_engine(f.model.device_model(), &options, &engine, &error) == kDeviceFailed);
  options = f.engines.options;
  options.max_rows = 0;
  CHECK(plugin().make_engine(f.model.device_model(), &options, &engine, &error) == kDeviceFailed);
  ModelShape shape = f.model.shape;
  shape.intermediate += 1;
  CHECK(plugin().make_model(f.device.get(), &shape, &f.model.on_device, &model, &error) ==
        kDeviceUnsupported);
  CHECK_THAT(error.text, Catch::Contains("an expert of layer 0: [37, 70]"));
  CHECK(model == nullptr);
  const Weights weights(f.random, 64, 64, Format{kInteger, kF16, 4, 0, 0, 1, 64});
  MatrixRows rows = weights.rows();
  rows.format.patch_cols = 48;
  CHECK(plugin().pack(f.device.get(), &rows, nullptr, &error) == kDeviceUnsupported);
}
