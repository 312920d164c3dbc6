// Engines of fast kernels through the table: what their callers rely on. Whether the numbers are right
// is a matter of the tests of those kernels.
#include "kernels/cuda/plugin/two_models.h"

using namespace support;

namespace {

const int32_t kBlocks[2][2] = {{4, 1}, {0, 6}};

ModelShape fast_shape() {
  ModelShape s = odd_shape();
  s.n_layers = 2;
  s.hidden = 64;
  s.n_heads = 4;
  s.n_kv_heads = 2;
  s.head_dim = 32;
  s.rotary_dim = 16;
  s.intermediate = 48;
  s.n_vocab = 40;
  return s;
}

const Format kFp8Blocks{kFp8, kF32, 8, 0, 0, 128, 128};

/// The last rows of logits of a step.
std::vector<float> last_row(const Outcome& outcome, int32_t n_vocab) {
  return {outcome.logits.end() - n_vocab, outcome.logits.end()};
}

}  // namespace

TEST_CASE("cuda plugin fast: a sequence has the same bits however its tokens are cut into steps") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(101);
  const int32_t n_vocab = fast_shape().n_vocab;
  const std::vector<int32_t> prompt = {1, 2, 39, 4, 5, 6, 7, 8, 9, 10, 11, 30};
  for (const Format& f : {plain(kBF16), kFp8Blocks}) {
    for (const int32_t number : {kBF16, kE4M3}) {
      TwoModels model(random, fast_shape(), f, device.get());
      TwoEngines engines(model, device.get(), number, kFast);
      Tokens whole, first, second, with_other;
      whole.add(prompt, 0, 1, kBlocks[0]);
      first.add({prompt.begin(), prompt.begin() + 5}, 0, 0, kBlocks[0]);
      second.add({prompt.begin() + 5, prompt.end()}, 5, 1, kBlocks[0]);
      with_other.add({3, 3, 3, 17, 21}, 0, 1, kBlocks[1]);
      with_other.add(prompt, 0, 1, kBlocks[0]);
      const Outcome want = engines.on_device(whole.plan(kBF16));
      REQUIRE(want.code == kDeviceOk);
      CHECK_THAT(plugin().describe(engines.engine()), !Catch::Contains("\"simple\""));
      CHECK(engines.on_device(first.plan(kBF16)).code == kDeviceOk);
      CHECK(same_bits(last_row(engines.on_device(second.plan(kBF16)), n_vocab), want.logits));
      CHECK(same_bits(last_row(engines.on_device(with_other.plan(kBF16)), n_vocab), want.logits));
      CHECK(emulated.last_failure() == "");
    }
  }
}

TEST_CASE(
    "cuda plugin fast: activations of F32, and models without fast kernels, get simple ones") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(102);
  TwoModels model(random, fast_shape(), plain(kBF16), device.get());
  Tokens tokens;
  tokens.add({1, 2, 3}, 0, 1, kBlocks[0]);
  {
    TwoEngines engines(model, device.get(), kBF16, kFast);
    const StepPlan plan = tokens.plan(kF32);
    CHECK(same_bits(engines.on_device(plan).logits, engines.on_host(plan).logits));
    CHECK_THAT(plugin().describe(engines.engine()), Catch::Contains("\"simple\""));
  }
  TwoEngines engines(model, device.get(), kF32, kFast);  // no fast kernels for such a cache
  const StepPlan plan = tokens.plan(kBF16);
  CHECK(same_bits(engines.on_device(plan).logits, engines.on_host(plan).logits));
}

TEST_CASE("cuda plugin fast: devices older and newer than fast kernels run the simple ones") {
  for (const int32_t major : {8, 10}) {
    cuda_emulator::Settings settings;
    settings.major = major;
    settings.built_from = 8;
    const Emulated emulated(settings);
    const OpenDevice device;
    Random random(105);
    TwoModels model(random, fast_shape(), kFp8Blocks, device.get());
    TwoEngines engines(model, device.get(), kE4M3, kFast);
    Tokens tokens;
    tokens.add({1, 2, 3}, 0, 1, kBlocks[0]);
    const StepPlan plan = tokens.plan(kBF16);
    CHECK(same_bits(engines.on_device(plan).logits, engines.on_host(plan).logits));
    CHECK_THAT(plugin().describe(engines.engine()), Catch::Contains("\"simple\""));
    CHECK(emulated.last_failure() == "");
  }
}

TEST_CASE("cuda plugin fast: the kernel that stays has few launches and the bits of the others") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(106);
  TwoModels model(random, fast_shape(), kFp8Blocks, device.get());
  Tokens prompt, next;
  prompt.add({1, 2, 39, 4, 5, 6, 7, 8, 9}, 0, 1, kBlocks[0]);  // more tokens than it takes
  next.add({10, 11}, 9, 1, kBlocks[0]);
  std::vector<float> want;
  for (const int32_t kernels : {kFast, kResident}) {
    TwoEngines engines(model, device.get(), kE4M3, kernels);
    REQUIRE(engines.on_device(prompt.plan(kBF16)).code == kDeviceOk);
    const int64_t launches = emulated.counts().launches;
    const Outcome got = engines.on_device(next.plan(kBF16));
    const int64_t n = emulated.counts().launches - launches;
    CHECK_THAT(plugin().describe(engines.engine()),
               Catch::Contains("\"launches\":" + std::to_string(n) + ","));
    if (kernels == kFast) {
      want = got.logits;
      CHECK(n == 3 + 6 * model.shape.n_layers);
    } else {
      CHECK(n == 4);
      CHECK(same_bits(got.logits, want));
      CHECK_THAT(plugin().describe(engines.engine()), Catch::Contains("\"resident\""));
    }
  }
  CHECK(emulated.last_failure() == "");
}

TEST_CASE("cuda plugin fast: launches are those told, an engine takes what was said") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(103);
  TwoModels model(random, fast_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16, kFast);
  (void)model.device_model();
  const auto before = emulated.counts();
  DeviceEngine* engine = engines.engine();
  const auto with = emulated.counts();
  CHECK(with.allocated_bytes - before.allocated_bytes ==
        plugin().engine_bytes(&model.shape, &engines.options));
  Tokens tokens;
  tokens.add({1, 2, 3}, 0, 1, kBlocks[0]);
  CHECK(engines.on_device(tokens.plan(kBF16)).code == kDeviceOk);
  const auto after = emulated.counts();
  CHECK(after.allocated_bytes == with.allocated_bytes);
  CHECK_THAT(
      plugin().describe(engine),
      Catch::Contains("\"launches\":" + std::to_string(after.launches - with.launches) + ","));
}

TEST_CASE(
    "cuda plugin fast: launches of long steps are those told, keys are read once for a tile") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(106);
  TwoModels model(random, fast_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16, kFast);
  DeviceEngine* engine = engines.engine();
  const auto told = [&](const StepPlan& plan) {
    const int64_t before = emulated.counts().launches;
    const Outcome outcome = engines.on_device(plan);
    INFO(outcome.text);
    CHECK(outcome.code == kDeviceOk);
    const int64_t launches = emulated.counts().launches - before;
    const std::string text = plugin().describe(engine);
    CHECK_THAT(text, Catch::Contains("\"launches\":" + std::to_string(launches) + ","));
    return text;
  };
  const int32_t blocks[4][1] = {{4}, {1}, {0}, {6}};
  const std::vector<int32_t> nine(9, 7), thirty(30, 7);
  Tokens prompt;
  prompt.add(thirty, 0, 0, blocks[0]);
  (void)told(prompt.plan(kBF16));
  // Two short rows beside each other, one behind a long one.
  Tokens rows;
  rows.add({1, 2, 3}, 0, 1, blocks[1]);
  rows.add({4, 5}, 0, 2, blocks[2]);
  rows.add(nine, 30, 9, blocks[0]);
  rows.add({6}, 0, 1, blocks[3]);
  const ModelShape s = model.shape;
  const int64_t positions = 64 + (1 + 2 + 3) + (1 + 2) + 1;
  const int64_t bytes = positions * s.n_layers * 2 * s.n_kv_heads * s.head_dim * 2;
  CHECK_THAT(told(rows.plan(kBF16)), Catch::Contains("\"kv\":" + std::to_string(bytes) + "}"));
}

TEST_CASE("cuda plugin fast: an observer of ids and an interrupt reach fast kernels") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(104);
  TwoModels model(random, fast_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16, kFast);
  Tokens tokens;
  tokens.add({1, 2, 3}, 0, 1, kBlocks[0]);
  struct Seen {
    std::vector<int32_t> layers;
    bool ascending = true;
  } seen;
  const Observer observer{&seen, [](void* self, const char* name, int32_t layer, const void* values,
                                    int32_t number, int64_t n_rows, int64_t width) {
                            Seen& s = *static_cast<Seen*>(self);
                            if (std::string(name) != "topk_ids" || number != kI32) return;
                            s.layers.push_back(layer);
                            const auto* ids = static_cast<const int32_t*>(values);
                            for (int64_t i = 0; i < n_rows * width; ++i) {
                              const bool first = i % width == 0;
                              s.ascending &= ids[i] >= 0 && ids[i] < fast_shape().n_experts &&
                                             (first || ids[i] > ids[i - 1]);
                            }
                          }};
  StepPlan plan = tokens.plan(kBF16);
  plan.observer = &observer;
  CHECK(engines.on_device(plan).code == kDeviceOk);
  CHECK(seen.layers == std::vector<int32_t>{0, 1});
  CHECK(seen.ascending);
  plan.interrupted = [](void*) { return int32_t{1}; };
  CHECK(engines.on_device(plan).code == kDeviceInterrupted);
  // Of a long step: before the second layer too.
  Tokens prompt;
  prompt.add(std::vector<int32_t>(30, 7), 0, 1, kBlocks[1]);
  int32_t asked = 0;
  plan = prompt.plan(kBF16);
  plan.interrupted_self = &asked;
  plan.interrupted = [](void* self) { return ++*static_cast<int32_t*>(self) == 2 ? 1 : 0; };
  CHECK(engines.on_device(plan).code == kDeviceInterrupted);
  CHECK(asked == 2);
  const Outcome again = engines.on_device(plan);
  CHECK(again.code == kDeviceOk);
  CHECK(asked > 2);
}
