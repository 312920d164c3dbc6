// An engine on a device behaves as one on the CPU does: bits, transactions, interrupts, sequences as
// bytes; and what a failing device leaves behind.
#include <limits>

#include "support/edited.h"
#include "support/random_host.h"
#include "unit/device/fake.h"

using mm2::Code;
using mm2::SeqRows;
using mm2::Status;
using support::Fake;
using support::says;

namespace {

const std::string kModel = golden::kModels + "bf16_single";

mm2::EngineOptions small_engine() {
  return {.max_seqs = 4,
          .max_tokens_per_step = 128,
          .max_outputs_per_step = 64,
          .kv_tokens = 256,
          .n_threads = 1,
          .device_kernels = mm2::DeviceKernels::simple};
}

Status one_step(mm2::Engine& engine, int32_t seq_id, std::vector<int32_t> tokens) {
  std::vector<float> logits(512);
  const SeqRows row{seq_id, engine.seq_length(seq_id), static_cast<int32_t>(tokens.size()), 1};
  return engine.step({&row, 1}, tokens, logits, {});
}

bool equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && support::same_bits(a.data(), b.data(), a.size());
}

std::vector<std::string> all_models() {
  std::vector<std::string> all = {"bf16",   "bf16_single", "f16",          "f32",
                                  "pruned", "alias_fused", "alias_gate_up"};
  all.insert(all.end(), golden::kQuantised.begin(), golden::kQuantised.end());
  return all;
}

}  // namespace

TEST_CASE("device step: every format gives the bits of the CPU") {
  const Fake fake;
  std::vector<std::string> plugins = {MM2_FAKE_DEVICE};
#if defined(MM2_EMULATED_DEVICE)
  plugins.emplace_back(MM2_EMULATED_DEVICE);  // the kernels of CUDA on the emulator
#endif
  for (const std::string& plugin : plugins) {
    mm2::ModelOptions options = support::on_fake();
    options.device_plugin = plugin;
    for (const std::string& folder : all_models()) {
      INFO(plugin << " " << folder);
      const auto loaded = mm2::Model::load(golden::kModels + folder, options, mm2::Host{});
      INFO(loaded.status().message());
      REQUIRE(loaded.ok());
      const auto gpu = support::engine(*loaded, small_engine());
      const auto cpu = support::engine(support::load(golden::kModels + folder), small_engine());
      const auto prompt = golden::prompts(folder, "tight").front().ids;
      CHECK(equal(support::all_logits(*gpu, 0, prompt, 7), support::all_logits(*cpu, 0, prompt)));
      const mm2::Json on_gpu = gpu->stats();
      const mm2::Json on_cpu = cpu->stats();
      CHECK(on_gpu["expert_tokens"] == on_cpu["expert_tokens"]);
      CHECK(on_gpu["flops"] == on_cpu["flops"]);
      CHECK(on_gpu["device"].contains("kernels"));
      CHECK_FALSE(on_cpu.contains("device"));
      CHECK(*gpu->seq_export(0) == *cpu->seq_export(0));
    }
  }
}

TEST_CASE("device step: random schedules, forks and exports give the bits of each sequence alone") {
  const Fake fake;
  const auto model = support::load_on_fake(kModel);
  std::vector<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> wanted;
  std::mt19937 random(5);
  const auto alone = support::engine(support::load(kModel), small_engine());
  for (int i = 0; i < 3; ++i) {
    auto& text = texts.emplace_back();
    for (int t = 0; t < 90; ++t) text.push_back(static_cast<int32_t>(random() % 512));
    auto& logits = wanted.emplace_back(support::all_logits(*alone, 0, text, 45));
    REQUIRE(logits.size() == text.size() * 512);
    REQUIRE(alone->seq_free(0).ok());
  }
  mm2::EngineOptions options = small_engine();
  options.max_seqs = 6;
  options.max_tokens_per_step = options.max_outputs_per_step = 600;
  options.kv_tokens = 640;
  for (uint32_t seed = 0; seed < 3; ++seed) {
    const auto engine = support::engine(model, options);
    CHECK(support::RandomHost(*engine, texts, wanted, seed, 2).run(40) > 100);
  }
}

TEST_CASE("device step: memory is that of the estimate, and on the device") {
  const Fake fake;
  const auto model = support::load_on_fake(kModel);
  const int64_t before = fake->used_bytes;
  const auto estimate = mm2::Engine::estimate(*model, small_engine(), mm2::Host{});
  REQUIRE(estimate.ok());
  const auto engine = support::engine(model, small_engine());
  CHECK(static_cast<uint64_t>(fake->used_bytes - before) == estimate->device_kv);
  CHECK(estimate->device_weights == model->weight_bytes().device);
  CHECK(estimate->device_buffers ==
        static_cast<uint64_t>(model->backend().scratch_bytes(&model->shape(), 128, 64, 1)) +
            4 * 256 / 64);  // as the fake counts its tables
  CHECK(engine->memory().device_kv == estimate->device_kv);
  CHECK(engine->stats()["kv"]["bytes"] == estimate->device_kv);
}

TEST_CASE("device step: out of memory at create names the pool, the buffers and what is free") {
  const Fake fake;
  const auto model = support::load_on_fake(kModel);
  const auto estimate = mm2::Engine::estimate(*model, small_engine(), mm2::Host{});
  fake->memory_bytes = fake->used_bytes + 1000;
  Status status = mm2::Engine::create(model, small_engine(), mm2::Host{}).status();
  CHECK(status.code() == Code::out_of_memory);
  CHECK(says(status, mm2::join("on the device a KV pool of ", estimate->device_kv,
                               " bytes, buffers of ", estimate->device_buffers, " bytes")));
  CHECK(says(status, mm2::join("1000 of ", fake->memory_bytes, " bytes are free on Fake 0")));
  fake->memory_bytes = int64_t{1} << 30;
  fake.fail("make_engine", mm2::kernels::kDeviceOutOfMemory);
  status = mm2::Engine::create(model, small_engine(), mm2::Host{}).status();
  CHECK(status.code() == Code::out_of_memory);
  CHECK(says(status, mm2::join("buffers of ", estimate->device_buffers, " bytes")));
  CHECK(fake->n_objects == 3);  // what the model holds, and no more
}

TEST_CASE("device step: the stream and the kind of kernels reach the plug-in, the CPU takes none") {
  const Fake fake;
  int stream = 0;
  mm2::EngineOptions options = small_engine();
  options.device_stream = &stream;
  const auto model = support::load_on_fake(kModel);
  {
    const auto engine = support::engine(model, options);
    CHECK(fake->stream == &stream);
    CHECK(fake->kernels == mm2::kernels::kSimple);
  }
  options.device_kernels = mm2::DeviceKernels::fast;
  { const auto engine = support::engine(model, options); }
  CHECK(fake->kernels == mm2::kernels::kFast);
  options.device_kernels = static_cast<mm2::DeviceKernels>(2);
  CHECK(says(mm2::Engine::create(model, options, mm2::Host{}).status(), "device_kernels is 2"));
  options = small_engine();
  options.device_stream = &stream;
  CHECK(says(mm2::Engine::create(support::load(kModel), options, mm2::Host{}).status(),
             "device_stream is given"));
}

TEST_CASE("device step: an interrupted step is cancelled, keeps nothing, and the engine goes on") {
  const Fake fake;
  const auto engine = support::engine(support::load_on_fake(kModel), small_engine());
  const auto cpu = support::engine(support::load(kModel), small_engine());
  support::all_logits(*engine, 0, {5, 6, 7});
  support::all_logits(*cpu, 0, {5, 6, 7});
  engine->interrupt();
  CHECK(one_step(*engine, 0, {9}).code() == Code::cancelled);
  CHECK(engine->seq_length(0) == 3);
  CHECK(equal(support::all_logits(*engine, 0, {9}), support::all_logits(*cpu, 0, {9})));
  CHECK(engine->stats()["cancelled"] == 1);
}

TEST_CASE(
    "device step: a call that fails takes back the step, and the next one has the same bits") {
  const Fake fake;
  const auto engine = support::engine(support::load_on_fake(kModel), small_engine());
  const auto cpu = support::engine(support::load(kModel), small_engine());
  support::all_logits(*engine, 0, {1, 2, 3});
  support::all_logits(*cpu, 0, {1, 2, 3});
  fake.fail("step", mm2::kernels::kDeviceFailed);
  const Status status = one_step(*engine, 0, {4, 5});
  CHECK(status.code() == Code::device);
  CHECK(status.native_code() == 704);
  CHECK(engine->seq_length(0) == 3);
  CHECK(equal(support::all_logits(*engine, 0, {4, 5}), support::all_logits(*cpu, 0, {4, 5})));

  // A shared block is copied before the step: the copy may fail as well.
  REQUIRE(engine->seq_fork(0, 1, 4).ok());
  const int32_t free_blocks = engine->kv_pool().n_available();
  fake.fail("copy_block", mm2::kernels::kDeviceFailed);
  CHECK(one_step(*engine, 1, {6}).code() == Code::device);
  CHECK(fake->n_calls == 1);
  CHECK(engine->seq_length(1) == 4);
  CHECK(engine->kv_pool().n_available() == free_blocks);
  REQUIRE(cpu->seq_truncate(0, 4).ok());
  CHECK(equal(support::all_logits(*engine, 1, {6}), support::all_logits(*cpu, 0, {6})));
  CHECK(engine->seq_length(0) == 5);
}

TEST_CASE("device step: a sequence goes from the CPU to the device and back with the same bits") {
  const Fake fake;
  const auto cpu = support::engine(support::load(kModel), small_engine());
  const auto gpu = support::engine(support::load_on_fake(kModel), small_engine());
  std::vector<int32_t> text(100);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<int32_t>(3 * i + 1);
  const std::vector<int32_t> start(text.begin(), text.begin() + 70);
  support::all_logits(*cpu, 0, start, 64);
  const auto bytes = cpu->seq_export(0);
  REQUIRE(bytes.ok());
  REQUIRE(gpu->seq_import(2, *bytes).ok());
  CHECK(*gpu->seq_export(2) == *bytes);
  const std::vector<int32_t> rest(text.begin() + 70, text.end());
  CHECK(equal(support::all_logits(*gpu, 2, rest), support::all_logits(*cpu, 0, rest)));
  const auto back = gpu->seq_export(2);
  REQUIRE(back.ok());
  REQUIRE(cpu->seq_import(3, *back).ok());

  fake.fail("read_positions", mm2::kernels::kDeviceFailed, 1);
  CHECK(gpu->seq_export(2).status().code() == Code::device);
  fake.fail("write_positions", mm2::kernels::kDeviceFailed, 1);
  const int32_t free_blocks = gpu->kv_pool().n_available();
  CHECK(gpu->seq_import(3, *back).code() == Code::device);
  CHECK(gpu->seq_length(3) == 0);
  CHECK(gpu->kv_pool().n_available() == free_blocks);
}

TEST_CASE("device step: a sequence with NaN fails alone") {
  const Fake fake;
  support::EditedModel edited("bf16_single");
  auto& table = edited.at("model.embed_tokens.weight");
  REQUIRE(table.dtype == mm2::Dtype::bf16);
  table.as<uint16_t>()[7 * table.shape[1]] = 0x7FC0;  // of token 7
  const auto engine = support::engine(support::load_on_fake(edited.save()), small_engine());
  std::vector<float> logits(2 * 512);
  const std::vector<SeqRows> rows = {{0, 0, 2, 1}, {1, 0, 1, 1}};
  std::vector<Code> codes(2);
  REQUIRE(engine->step(rows, std::vector<int32_t>{3, 7, 4}, logits, codes).ok());
  CHECK(codes[0] == Code::numeric);
  CHECK(codes[1] == Code::ok);
  CHECK(engine->seq_length(0) == 0);
  CHECK(engine->seq_length(1) == 1);
}

TEST_CASE("device step: a lost device is told by every later call, model and host live on") {
  const Fake fake;
  const auto model = support::load_on_fake(kModel);
  auto engine = support::engine(model, small_engine());
  auto other = support::engine(model, small_engine());
  support::all_logits(*engine, 0, {1, 2, 3});
  fake.fail("step", mm2::kernels::kDeviceLost);
  CHECK(one_step(*engine, 0, {4}).code() == Code::device_lost);
  const auto lost = [](const Status& status) {
    return status.code() == Code::device_lost && says(status, "device 0 (Fake 0) is lost");
  };
  CHECK(lost(one_step(*engine, 0, {4})));
  CHECK(lost(one_step(*other, 0, {4})));
  CHECK(lost(engine->seq_export(0).status()));
  CHECK(lost(engine->seq_fork(0, 1, 2)));
  CHECK(lost(mm2::Engine::create(model, small_engine(), mm2::Host{}).status()));
  // Queries answer.
  CHECK(engine->seq_length(0) == 3);
  CHECK(engine->stats()["tokens"] == 3);
  CHECK(model->describe()["device"]["name"] == "Fake 0");
  CHECK(model->weight_bytes().device > 0);
  engine.reset();
  other.reset();
  // The host's own model runs on.
  const auto cpu = support::engine(support::load(kModel), small_engine());
  CHECK(one_step(*cpu, 0, {4}).ok());
}
