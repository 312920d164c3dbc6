// A device through the C ABI: the plug-in is that of tests/support/fake_device.
#include <vector>

#include "support/fake_device/fake_device.h"
#include "unit/capi/models.h"

#include <dlfcn.h>

namespace {

struct Fake {
  Fake() : handle(dlopen(MM2_FAKE_DEVICE, RTLD_NOW | RTLD_LOCAL)) {
    REQUIRE(handle != nullptr);
    state = reinterpret_cast<FakeDevice* (*)()>(dlsym(handle, kFakeSymbol))();
    *state = FakeDevice();
  }
  ~Fake() {
    CHECK(state->n_objects == 0);
    dlclose(handle);
  }
  void* handle;
  FakeDevice* state;
};

mm2_model_options on_fake() {
  mm2_model_options options;
  mm2_model_options_init(&options, sizeof options);
  options.device = MM2_DEVICE_CUDA;
  options.device_plugin = MM2_FAKE_DEVICE;
  options.n_threads = 2;
  return options;
}

models::Model load_on_fake() {
  const mm2_model_options options = on_fake();
  mm2_model* model = nullptr;
  mm2_error err = models::no_error();
  const mm2_status status = mm2_model_load(models::kSmall.c_str(), &options, &model, &err);
  INFO(err.message);
  REQUIRE(status == MM2_OK);
  return models::Model(model);
}

mm2_status step(mm2_engine* engine, std::vector<float>& logits, mm2_error* err = nullptr) {
  const std::vector<int32_t> tokens = {11, 12, 13};
  const mm2_seq_rows row = {0, 0, 3, 1};
  mm2_batch batch;
  mm2_batch_init(&batch, sizeof batch);
  batch.n_seqs = 1;
  batch.seqs = &row;
  batch.tokens = tokens.data();
  batch.n_tokens = 3;
  logits.resize(512);
  return mm2_engine_step(engine, &batch, logits.data(), logits.size(), nullptr, err);
}

}  // namespace

TEST_CASE("capi device: a model on a device says so and gives the logits of the CPU") {
  const Fake fake;
  const auto model = load_on_fake();
  mm2_model_info info;
  mm2_model_info_init(&info, sizeof info);
  REQUIRE(mm2_model_get_info(model.get(), &info, nullptr) == MM2_OK);
  CHECK(info.device == MM2_DEVICE_CUDA);
  CHECK(info.isa == MM2_ISA_AUTO);
  CHECK(info.weight_bytes == static_cast<uint64_t>(fake.state->used_bytes));

  mm2_engine_options options = models::small_options();
  options.device_kernels = MM2_DEVICE_KERNELS_SIMPLE;
  mm2_memory estimate, held;
  mm2_memory_init(&estimate, sizeof estimate);
  mm2_memory_init(&held, sizeof held);
  REQUIRE(mm2_engine_estimate(model.get(), &options, &estimate, nullptr) == MM2_OK);
  const auto engine = models::create(model.get(), options);
  REQUIRE(mm2_engine_get_memory(engine.get(), &held, nullptr) == MM2_OK);
  CHECK(held.device_kv == estimate.device_kv);
  CHECK(static_cast<uint64_t>(fake.state->used_bytes) == held.device_weights + held.device_kv);
  CHECK(held.device_buffers > 0);
  CHECK(held.host_weights == 0);
  CHECK(held.host_kv == 0);
  CHECK(held.host_buffers > 0);
  CHECK(held.load_peak_device == held.device_weights);
  CHECK(held.load_peak_host > 0);
  mm2_engine_info engine_info;
  mm2_engine_info_init(&engine_info, sizeof engine_info);
  REQUIRE(mm2_engine_get_info(engine.get(), &engine_info, nullptr) == MM2_OK);
  CHECK(engine_info.device == MM2_DEVICE_CUDA);

  std::vector<float> got, want;
  REQUIRE(step(engine.get(), got) == MM2_OK);
  const auto cpu_model = models::load();
  const auto cpu = models::create(cpu_model.get(), models::small_options());
  REQUIRE(step(cpu.get(), want) == MM2_OK);
  CHECK(got == want);
}

TEST_CASE("capi device: errors bring the device's own number") {
  const Fake fake;
  mm2_model_options options = on_fake();
  mm2_model* none = nullptr;
  mm2_error err = models::no_error();
  fake.state->n_devices = 0;
  CHECK(mm2_model_load(models::kSmall.c_str(), &options, &none, &err) == MM2_E_UNSUPPORTED);
  CHECK(err.domain == MM2_DOMAIN_CUDA);
  CHECK(err.native_code == 35);
  CHECK(std::string(err.message).find("there is no driver") != std::string::npos);
  fake.state->n_devices = 1;
  options.device_index = 1;
  CHECK(mm2_model_load(models::kSmall.c_str(), &options, &none, &err) == MM2_E_INVALID_ARGUMENT);
  CHECK(none == nullptr);

  const auto model = load_on_fake();
  const auto engine = models::create(model.get(), models::small_options());
  std::vector<float> logits;
  fake.state->failing = "step";
  fake.state->code = mm2::kernels::kDeviceFailed;
  CHECK(step(engine.get(), logits, &err) == MM2_E_DEVICE);
  CHECK(err.native_code == 704);
  CHECK(step(engine.get(), logits, &err) == MM2_OK);
  REQUIRE(mm2_seq_free(engine.get(), 0, nullptr) == MM2_OK);
  fake.state->n_calls = 0;
  fake.state->code = mm2::kernels::kDeviceLost;
  CHECK(step(engine.get(), logits, &err) == MM2_E_DEVICE_LOST);
  CHECK(step(engine.get(), logits, &err) == MM2_E_DEVICE_LOST);
  CHECK(mm2_seq_free(engine.get(), 0, nullptr) == MM2_E_DEVICE_LOST);
  int32_t length = -1;
  CHECK(mm2_seq_length(engine.get(), 0, &length, nullptr) == MM2_OK);
  CHECK(length == 0);
}

TEST_CASE("capi device: the machine's report tells of devices, or why there are none") {
  const auto json = models::buffer();
  REQUIRE(mm2_system_info(json.get(), nullptr) == MM2_OK);
  const std::string text = models::text(json);
  CHECK(text.find("\"cuda\":{\"available\":") != std::string::npos);
  CHECK(text.find("\"devices\":[") != std::string::npos);
}
