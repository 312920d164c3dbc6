// Steps on the device against those of the CPU: the same bits.
#include "kernels/cuda/plugin/two_models.h"

using namespace support;

namespace {

ModelShape small_shape() {
  ModelShape s = odd_shape();
  s.n_layers = 2;
  return s;
}

const int32_t kBlocks[2][3] = {{3, 0, 5}, {6, 1, 2}};

/// Prompts of two sequences, one of them in two parts, then a token of each.
std::vector<Tokens> small_steps() {
  std::vector<Tokens> steps(3);
  steps[0].add({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1}, 0, 2, kBlocks[0]);
  steps[0].add({5, 5, 5}, 0, 0, kBlocks[1]);
  steps[1].add({7, 3, 2, 10, 4}, 3, 5, kBlocks[1]);
  steps[2].add({6}, 8, 1, kBlocks[1]);
  steps[2].add({9}, 12, 1, kBlocks[0]);
  return steps;
}

void check_same(TwoEngines& engines, int32_t activations) {
  for (const Tokens& tokens : small_steps()) {
    const StepPlan plan = tokens.plan(activations);
    const Outcome want = engines.on_host(plan), got = engines.on_device(plan);
    CHECK(got.text == "");
    REQUIRE(got.code == kDeviceOk);
    CHECK(same_bits(got.logits, want.logits));
    CHECK(got.results == want.results);
    for (const StepRow& row : tokens.rows) {
      const int64_t n = row.first_position + row.n_tokens;
      CHECK(engines.read_device(row, 0, n) == engines.read_host(row, 0, n));
    }
  }
}

}  // namespace

TEST_CASE("cuda plugin step: the bits of the CPU's step, weights of every format") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(61);
  for (const NamedFormat& named : all_formats(1 << 20, 64)) {
    INFO(named.name);
    TwoModels model(random, small_shape(), named.format, device.get());
    TwoEngines engines(model, device.get(), kBF16);
    check_same(engines, kBF16);
    CHECK(emulated.last_failure() == "");
  }
}

TEST_CASE("cuda plugin step: the bits of the CPU's step, every cache and number of activations") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(62);
  TwoModels model(random, small_shape(), plain(kBF16), device.get());
  for (const int32_t number : {kF32, kBF16, kE4M3}) {
    for (const int32_t activations : {kBF16, kF32}) {
      INFO("cache " << number << ", activations " << activations);
      TwoEngines engines(model, device.get(), number);
      check_same(engines, activations);
    }
  }
}

TEST_CASE("cuda plugin step: threads in the other order change nothing") {
  cuda_emulator::Settings settings;
  settings.order = cuda_emulator::kDescending;
  const Emulated emulated(settings);
  const OpenDevice device;
  Random random(63);
  TwoModels model(random, small_shape(), Format{kFp8, kF32, 8, 0, 0, 128, 128}, device.get());
  TwoEngines engines(model, device.get(), kE4M3);
  check_same(engines, kBF16);
}

TEST_CASE("cuda plugin step: a row that is not finite is told, the others are as without it") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(64);
  TwoModels model(random, small_shape(), plain(kBF16), device.get());
  TwoEngines engines(model, device.get(), kBF16);
  // The cache has a NaN where the first row reads.
  Tokens first;
  first.add({1, 2, 3}, 0, 1, kBlocks[0]);
  first.add({4, 5, 6}, 0, 1, kBlocks[1]);
  const Outcome good = engines.on_device(first.plan(kBF16));
  CHECK(good.results == std::vector<int32_t>{kRowDone, kRowDone});
  std::vector<char> positions = engines.read_device(first.rows[0], 0, 1);
  const uint16_t nan = 0x7FC0;
  std::memcpy(positions.data(), &nan, 2);
  DeviceError error{};
  REQUIRE(plugin().write_positions(engines.engine(), first.rows.data(), 0, 1, positions.data(),
                                   &error) == kDeviceOk);
  CHECK(engines.read_device(first.rows[0], 0, 1) == positions);
  Tokens second;
  second.add({7}, 3, 1, kBlocks[0]);
  second.add({8}, 3, 1, kBlocks[1]);
  const Outcome outcome = engines.on_device(second.plan(kBF16));
  CHECK(outcome.code == kDeviceOk);
  CHECK(outcome.results == std::vector<int32_t>{kRowNotFinite, kRowDone});
  Tokens alone;
  alone.add({8}, 3, 1, kBlocks[1]);
  const Outcome same = engines.on_device(alone.plan(kBF16));
  CHECK(
      same_bits(same.logits, {outcome.logits.begin() + model.shape.n_vocab, outcome.logits.end()}));
}
