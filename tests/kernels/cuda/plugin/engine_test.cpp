// Engines: what the host sees during a step, and what lies in the cache.
#include "kernels/cuda/plugin/two_models.h"

using namespace support;

namespace {

const int32_t kBlocks[] = {4, 1, 6};

ModelShape small_shape() {
  ModelShape s = odd_shape();
  s.n_layers = 3;
  return s;
}

/// Everything that an observer is told.
struct Seen {
  struct Value {
    std::string name;
    int32_t layer, number;
    int64_t n_rows, width;
    std::vector<char> bytes;
    bool operator==(const Value&) const = default;
  };
  static void see(void* self, const char* name, int32_t layer, const void* values, int32_t number,
                  int64_t n_rows, int64_t width) {
    const char* from = static_cast<const char*>(values);
    static_cast<Seen*>(self)->values.push_back(
        {name, layer, number, n_rows, width,
         std::vector<char>(from, from + n_rows * width * bytes_of(number))});
  }
  std::vector<Value> values;
};

struct Stop {
  int32_t after, asked = 0;
  static int32_t asks(void* self) {
    Stop* stop = static_cast<Stop*>(self);
    return stop->asked++ >= stop->after ? 1 : 0;
  }
};

}  // namespace

TEST_CASE("cuda plugin engine: an observer of everything sees what the CPU shows, in its order") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(71);
  TwoModels model(random, small_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16);
  Tokens tokens;
  tokens.add({1, 2, 3, 4, 5}, 0, 2, kBlocks);
  Seen host, there;
  Observer observer{&host, Seen::see};
  StepPlan plan = tokens.plan(kBF16);
  plan.observer = &observer;
  plan.observes_all = 1;
  CHECK(engines.on_host(plan).code == kStepDone);
  observer.self = &there;
  CHECK(engines.on_device(plan).code == kDeviceOk);
  REQUIRE(there.values.size() == host.values.size());
  for (size_t i = 0; i < host.values.size(); ++i) {
    INFO(host.values[i].name << " of layer " << host.values[i].layer);
    CHECK(there.values[i] == host.values[i]);
  }
}

TEST_CASE("cuda plugin engine: an observer that wants ids alone is told of them alone") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(72);
  TwoModels model(random, small_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16);
  Tokens tokens;
  tokens.add({1, 2, 3, 4, 5}, 0, 1, kBlocks);
  Seen host, there;
  Observer observer{&host, Seen::see};
  StepPlan plan = tokens.plan(kBF16);
  plan.observer = &observer;
  CHECK(engines.on_host(plan).code == kStepDone);
  observer.self = &there;
  CHECK(engines.on_device(plan).code == kDeviceOk);
  std::erase_if(host.values, [](const Seen::Value& v) { return v.name != "topk_ids"; });
  CHECK(there.values.size() == 3);
  CHECK(there.values == host.values);
}

TEST_CASE("cuda plugin engine: a step is interrupted between layers, and the next one is whole") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(73);
  TwoModels model(random, small_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16);
  Tokens tokens;
  std::vector<int32_t> prompt(20, 3);
  tokens.add(prompt, 0, 1, kBlocks);
  const Outcome want = engines.on_host(tokens.plan(kBF16));
  for (int32_t after = 0; after < 4; ++after) {
    Stop stop{after};
    StepPlan plan = tokens.plan(kBF16);
    plan.interrupted = Stop::asks;
    plan.interrupted_self = &stop;
    const Outcome outcome = engines.on_device(plan);
    CHECK(stop.asked == std::min(after + 1, 3));
    CHECK(outcome.code == (after < 3 ? kDeviceInterrupted : kDeviceOk));
    if (after < 3) CHECK(outcome.text == "CUDA: the step was interrupted");
    if (after == 3) CHECK(same_bits(outcome.logits, want.logits));
  }
}

TEST_CASE("cuda plugin engine: positions come out and go back in, over blocks and in parts") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(74);
  for (const int32_t number : {kF32, kBF16, kE4M3}) {
    TwoModels model(random, small_shape(), plain(kBF16), device.get());
    TwoEngines engines(model, device.get(), number);
    Tokens tokens;
    tokens.add({1}, 0, 0, kBlocks);
    const StepRow& row = tokens.rows[0];
    const size_t of_position = engines.read_device(row, 0, 1).size();
    std::vector<char> written(170 * of_position);
    for (char& byte : written) byte = static_cast<char>(random.bits() & 0x37u);
    DeviceError error{};
    REQUIRE(plugin().write_positions(engines.engine(), &row, 10, 170, written.data(), &error) ==
            kDeviceOk);
    CHECK(engines.read_device(row, 10, 170) == written);
    const std::vector<char> part(written.begin() + static_cast<std::ptrdiff_t>(55 * of_position),
                                 written.begin() + static_cast<std::ptrdiff_t>(60 * of_position));
    CHECK(engines.read_device(row, 65, 5) == part);
    CHECK(engines.read_device(row, 65, 0).empty());
    // Block 1 onto block 7: another row reads the same positions there.
    const int32_t other[] = {4, 7, 6};
    StepRow copy = row;
    copy.blocks = other;
    CHECK(engines.read_device(copy, 64, 10) != engines.read_device(row, 64, 10));
    REQUIRE(plugin().copy_block(engines.engine(), 1, 7, &error) == kDeviceOk);
    CHECK(engines.read_device(copy, 64, 64) == engines.read_device(row, 64, 64));
  }
}

TEST_CASE("cuda plugin engine: it takes exactly what engine_bytes says, and a step takes nothing") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(75);
  TwoModels model(random, small_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16);
  (void)model.device_model();
  const auto before = emulated.counts();
  DeviceEngine* engine = engines.engine();
  const auto with = emulated.counts();
  CHECK(with.allocated_bytes - before.allocated_bytes ==
        plugin().engine_bytes(&model.shape, &engines.options));
  Tokens tokens;
  tokens.add({1, 2, 3}, 0, 1, kBlocks);
  CHECK(engines.on_device(tokens.plan(kBF16)).code == kDeviceOk);
  const auto after = emulated.counts();
  CHECK(after.allocated_bytes == with.allocated_bytes);
  CHECK(after.pinned_bytes == with.pinned_bytes);
  CHECK(after.streams == with.streams);
  CHECK(after.launches - with.launches == 3 + 12 * 3 + 3);
  CHECK_THAT(plugin().describe(engine),
             Catch::StartsWith("{\"kernels\":\"simple\",\"tokens\":3,\"rows\":1,\"outputs\":1,"
                               "\"launches\":42,\"attention_chunks\":1,"));
  CHECK_THAT(plugin().describe(engine), Catch::EndsWith("}}"));
}
