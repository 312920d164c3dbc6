// A checkpoint on a device: what goes there, what stays, and what is refused.
#include "kernels/api/numbers.h"
#include "support/edited.h"
#include "unit/device/fake.h"

using mm2::Code;
using mm2::Model;
using mm2::Status;
using support::Fake;
using support::on_fake;
using support::says;

namespace {

const std::string kModel = golden::kModels + "ct_mixed";

Status load_status(const std::string& path, const mm2::ModelOptions& options,
                   const mm2::Host& host = {}) {
  return Model::load(path, options, host).status();
}

// Takes memory from the C++ heap and counts it.
class Counting final : public mm2::Allocator {
 public:
  void* allocate(size_t size, size_t alignment) noexcept override {
    held += size;
    most = std::max(most, held);
    return mm2::default_allocator()->allocate(size, alignment);
  }
  void release(void* p, size_t size, size_t alignment) noexcept override {
    held -= size;
    mm2::default_allocator()->release(p, size, alignment);
  }
  size_t held = 0, most = 0;
};

}  // namespace

TEST_CASE("device load: the weights are on the device, the host has kept nothing but its staging") {
  const Fake fake;
  const auto memory = std::make_shared<Counting>();
  mm2::Host host;
  host.allocator = memory;
  auto loaded = Model::load(kModel, on_fake(), host);
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  const Model& model = **loaded;
  CHECK(model.device_kind() == mm2::DeviceKind::cuda);
  CHECK(model.weight_bytes().owned == 0);
  CHECK(model.weight_bytes().mapped == 0);
  CHECK(model.weight_bytes().device == static_cast<uint64_t>(fake->used_bytes));
  CHECK(memory->held == 0);
  CHECK(memory->most == model.weight_bytes().staging);
  CHECK(fake->n_objects == 3);  // the device, one memory, the model
  const mm2::Json json = model.describe();
  CHECK(json["backend"] == "fake");
  CHECK(json["plugin"] == MM2_FAKE_DEVICE);
  CHECK(json["device"]["name"] == "Fake 0");
  CHECK(json["memory"]["device"] == model.weight_bytes().device);
}

TEST_CASE("device load: metadata_only knows what the weights take, and needs no device") {
  const Fake fake;
  const uint64_t bytes = support::load_on_fake(kModel)->weight_bytes().device;
  fake->n_devices = 0;
  mm2::ModelOptions options = on_fake();
  options.metadata_only = true;
  const auto model = Model::load(kModel, options, mm2::Host{});
  REQUIRE(model.ok());
  CHECK((*model)->weight_bytes().device == bytes);
  CHECK((*model)->device_model() == nullptr);
  const auto estimate = mm2::Engine::estimate(**model, {}, mm2::Host{});
  REQUIRE(estimate.ok());
  CHECK(estimate->device_weights == bytes);
  CHECK(estimate->device_kv > 0);
  CHECK(estimate->device_buffers > 0);
  CHECK(estimate->weights == 0);
  CHECK(estimate->kv == 0);
  CHECK(says(mm2::Engine::create(*model, {}, mm2::Host{}).status(), "metadata_only"));
  options.metadata_only = false;
  CHECK(says(load_status(kModel, options), "loading " + kModel + ": there is no driver"));
}

TEST_CASE("device load: options of the CPU are refused, not ignored") {
  const Fake fake;
  mm2::ModelOptions options = on_fake();
  options.packed_cache = "/tmp";
  CHECK(load_status(kModel, options).code() == Code::unsupported);
  CHECK(says(load_status(kModel, options), "packed_cache is for the CPU"));
  options = on_fake();
  options.isa = mm2::Isa::generic;
  CHECK(says(load_status(kModel, options), "isa names kernels of the CPU"));
  options = on_fake();
  options.device_index = 1;
  CHECK(load_status(kModel, options).code() == Code::invalid_argument);
}

TEST_CASE("device load: too little memory is told with what the weights take") {
  const Fake fake;
  const uint64_t bytes = support::load_on_fake(kModel)->weight_bytes().device;
  fake->memory_bytes = static_cast<int64_t>(bytes) - 1;
  const Status status = load_status(kModel, on_fake());
  CHECK(status.code() == Code::out_of_memory);
  CHECK(says(status, mm2::join("the weights, ", bytes, " bytes: ", bytes,
                               " bytes of device memory were wanted, ", bytes - 1, " of ",
                               bytes - 1, " bytes are free on Fake 0")));
  fake->memory_bytes = static_cast<int64_t>(bytes);
  CHECK(load_status(kModel, on_fake()).ok());
}

TEST_CASE("device load: whichever call fails, the load says why and nothing stays behind") {
  const Fake fake;
  for (const char* function :
       {"count", "info", "open", "allocate", "copy_to", "pack", "make_model"}) {
    for (const int32_t n : {0, 5}) {
      fake.fail(function, mm2::kernels::kDeviceFailed, n);
      const Status status = load_status(kModel, on_fake());
      INFO(function << " " << n);
      if (fake->n_calls <= n) continue;  // it is not called so often
      CHECK(status.code() == Code::device);
      CHECK(says(status, "a failure that was asked for"));
      CHECK(fake->n_objects == 0);
      CHECK(fake->used_bytes == 0);
    }
  }
}

TEST_CASE("device load: a norm that is not finite is found before it goes to the device") {
  const Fake fake;
  support::EditedModel model("bf16");
  auto& norm = model.at("model.layers.0.input_layernorm.weight");
  REQUIRE(norm.dtype == mm2::Dtype::bf16);
  norm.as<uint16_t>()[5] = 0x7FC0;
  const Status status = load_status(model.save(), on_fake());
  CHECK(status.code() == Code::format);
  CHECK(says(status, "model.layers.0.input_layernorm.weight: [5] is NaN, must be finite"));
}

TEST_CASE("device load: progress reaches the total, and refusing it cancels") {
  const Fake fake;
  mm2::Host host;
  mm2::Progress last;
  uint64_t stop_at = UINT64_MAX;
  host.progress = [&](const mm2::Progress& p) {
    last = p;
    return p.done < stop_at;
  };
  REQUIRE(load_status(kModel, on_fake(), host).ok());
  CHECK(last.done == last.total);
  CHECK(last.total > 0);
  stop_at = last.total / 2;
  CHECK(load_status(kModel, on_fake(), host).code() == Code::cancelled);
  CHECK(fake->n_objects == 0);
}
