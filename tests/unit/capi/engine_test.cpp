#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "unit/capi/models.h"

namespace {

constexpr size_t kVocab = 512;

struct Step {
  std::vector<mm2_seq_rows> rows;
  std::vector<int32_t> tokens;

  mm2_batch batch() const {
    mm2_batch batch;
    mm2_batch_init(&batch, sizeof batch);
    batch.n_seqs = static_cast<int32_t>(rows.size());
    batch.seqs = rows.data();
    batch.n_tokens = static_cast<int32_t>(tokens.size());
    batch.tokens = tokens.data();
    return batch;
  }
  mm2_status run(mm2_engine* engine, std::vector<float>& logits, mm2_error* err = nullptr) const {
    const mm2_batch batch = this->batch();
    return mm2_engine_step(engine, &batch, logits.data(), logits.size(), nullptr, err);
  }
};

int32_t length(const models::Engine& engine, int32_t seq_id) {
  int32_t length = -1;
  REQUIRE(mm2_seq_length(engine.get(), seq_id, &length, nullptr) == MM2_OK);
  return length;
}

}  // namespace

TEST_CASE("capi engine: what the checkpoint says is what the info says") {
  const auto model = models::load();
  mm2_model_info info;
  mm2_model_info_init(&info, sizeof info);
  REQUIRE(mm2_model_get_info(model.get(), &info, nullptr) == MM2_OK);
  CHECK(info.struct_size == sizeof info);
  CHECK(info.n_layers == 3);
  CHECK(info.hidden == 64);
  CHECK(info.n_heads == 12);
  CHECK(info.n_kv_heads == 2);
  CHECK(info.head_dim == 16);
  CHECK(info.rotary_dim == 8);
  CHECK(info.n_experts == 16);
  CHECK(info.top_k == 4);
  CHECK(info.intermediate == 32);
  CHECK(info.n_vocab == 512);
  CHECK(info.max_positions == 2048);
  CHECK(info.rope_theta == 5e6);
  CHECK(info.weight_bytes > 0);
  CHECK(info.active_bytes_per_token > 0);
  CHECK(info.isa != MM2_ISA_AUTO);
  CHECK(info.has_weights == 1);
  CHECK(info.activations == MM2_ACTIVATIONS_BF16);
}

TEST_CASE("capi engine: options come back resolved, memory as estimated") {
  const auto model = models::load();
  const mm2_engine_options options = models::small_options();
  mm2_memory estimate;
  mm2_memory_init(&estimate, sizeof estimate);
  const auto bare = models::load(nullptr, models::kSmall, true);
  REQUIRE(mm2_engine_estimate(bare.get(), &options, &estimate, nullptr) == MM2_OK);
  const auto engine = models::create(model.get(), options);
  mm2_memory memory = estimate;
  memory.host_kv = memory.host_buffers = memory.host_weights = 0;
  REQUIRE(mm2_engine_get_memory(engine.get(), &memory, nullptr) == MM2_OK);
  CHECK(memory.host_weights == estimate.host_weights);
  CHECK(memory.host_kv == estimate.host_kv);
  CHECK(memory.host_buffers == estimate.host_buffers);
  // tokens, K and V, heads, width, BF16, layers
  CHECK(memory.host_kv >= 256u * 2 * 2 * 16 * 2 * 3);

  mm2_engine_info info;
  mm2_engine_info_init(&info, sizeof info);
  REQUIRE(mm2_engine_get_info(engine.get(), &info, nullptr) == MM2_OK);
  CHECK(info.max_seqs == 4);
  CHECK(info.max_outputs_per_step == 64);
  CHECK(info.kv_tokens == 256);
  CHECK(info.kv_blocks * info.kv_block_size == 256);
  CHECK(info.kv_dtype == MM2_KV_BF16);
  CHECK(info.activations == MM2_ACTIVATIONS_BF16);
  CHECK(info.prefix_cache == MM2_YES);
  CHECK(info.n_threads == 2);
  CHECK(info.n_vocab == 512);
}

TEST_CASE("capi engine: a model lives on in its engines") {
  auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options());
  model.reset();
  std::vector<float> logits(kVocab);
  CHECK(Step{{{0, 0, 3, 1}}, {1, 2, 3}}.run(engine.get(), logits) == MM2_OK);
}

TEST_CASE("capi engine: logits are the same bits in one step, in pieces, and after a fork") {
  const auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options());
  std::vector<int32_t> ids(20);
  std::iota(ids.begin(), ids.end(), 100);
  std::vector<float> whole(20 * kVocab), last(kVocab);
  REQUIRE(Step{{{0, 0, 20, 20}}, ids}.run(engine.get(), whole) == MM2_OK);
  REQUIRE(Step{{{7, 0, 12, 0}}, {ids.begin(), ids.begin() + 12}}.run(engine.get(), last) == MM2_OK);
  REQUIRE(Step{{{7, 12, 8, 1}}, {ids.begin() + 12, ids.end()}}.run(engine.get(), last) == MM2_OK);
  CHECK(std::memcmp(last.data(), &whole[19 * kVocab], kVocab * sizeof(float)) == 0);

  REQUIRE(mm2_seq_fork(engine.get(), 0, 3, 10, nullptr) == MM2_OK);
  CHECK(length(engine, 3) == 10);
  REQUIRE(Step{{{3, 10, 10, 1}}, {ids.begin() + 10, ids.end()}}.run(engine.get(), last) == MM2_OK);
  CHECK(std::memcmp(last.data(), &whole[19 * kVocab], kVocab * sizeof(float)) == 0);
  REQUIRE(mm2_seq_truncate(engine.get(), 3, 4, nullptr) == MM2_OK);
  CHECK(length(engine, 3) == 4);
  REQUIRE(mm2_seq_free(engine.get(), 3, nullptr) == MM2_OK);
  CHECK(length(engine, 3) == 0);
}

TEST_CASE("capi engine: a sequence goes away as bytes and comes back, and prefixes are matched") {
  const auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options());
  std::vector<int32_t> ids(65);
  std::iota(ids.begin(), ids.end(), 100);
  std::vector<float> before(kVocab), after(kVocab);
  int32_t matched = -1;
  REQUIRE(mm2_prefix_match(engine.get(), 0, ids.data(), 65, 7, &matched, nullptr) == MM2_OK);
  CHECK(matched == 0);
  REQUIRE(Step{{{0, 0, 64, 0}}, {ids.begin(), ids.begin() + 64}}.run(engine.get(), before) ==
          MM2_OK);
  const auto bytes = models::buffer();
  REQUIRE(mm2_seq_export(engine.get(), 0, bytes.get(), nullptr) == MM2_OK);
  REQUIRE(Step{{{0, 64, 1, 1}}, {ids[64]}}.run(engine.get(), before) == MM2_OK);
  REQUIRE(mm2_prefix_match(engine.get(), 1, ids.data(), 65, 7, &matched, nullptr) == MM2_OK);
  CHECK(matched == 64);
  CHECK(length(engine, 1) == 64);
  REQUIRE(Step{{{1, 64, 1, 1}}, {ids[64]}}.run(engine.get(), after) == MM2_OK);
  CHECK(std::memcmp(before.data(), after.data(), kVocab * sizeof(float)) == 0);
  REQUIRE(mm2_seq_free(engine.get(), 0, nullptr) == MM2_OK);
  REQUIRE(mm2_seq_import(engine.get(), 0, mm2_buffer_data(bytes.get()),
                         mm2_buffer_size(bytes.get()), nullptr) == MM2_OK);
  REQUIRE(Step{{{0, 64, 1, 1}}, {ids[64]}}.run(engine.get(), after) == MM2_OK);
  CHECK(std::memcmp(before.data(), after.data(), kVocab * sizeof(float)) == 0);

  mm2_error err = models::no_error();
  CHECK(mm2_seq_import(engine.get(), 3, "mm2 seq", 7, &err) == MM2_E_FORMAT);
  CHECK(std::string(err.message).find("7 bytes") != std::string::npos);
  CHECK(mm2_seq_export(engine.get(), 3, bytes.get(), &err) == MM2_E_NOT_FOUND);
  CHECK(mm2_prefix_match(engine.get(), 3, ids.data(), 0, 7, &matched, &err) ==
        MM2_E_INVALID_ARGUMENT);

  for (int32_t seq_id : {0, 1}) REQUIRE(mm2_seq_free(engine.get(), seq_id, nullptr) == MM2_OK);
  int64_t free_blocks = 0, total_blocks = 0, evicted = -1;
  REQUIRE(mm2_kv_pool(engine.get(), &free_blocks, &total_blocks, nullptr, nullptr) == MM2_OK);
  CHECK(free_blocks == total_blocks);
  CHECK(mm2_prefix_evict(engine.get(), INT64_MAX, &evicted, nullptr) == MM2_OK);
  CHECK(evicted == 1);
  const uint64_t salt = 7;
  CHECK(mm2_prefix_clear(engine.get(), &salt, nullptr) == MM2_OK);
}

TEST_CASE("capi engine: an engine without a prefix cache matches nothing") {
  const auto model = models::load();
  mm2_engine_options options = models::small_options();
  options.prefix_cache = MM2_NO;
  const auto engine = models::create(model.get(), options);
  const int32_t ids[2] = {1, 2};
  int32_t matched = -1;
  CHECK(mm2_prefix_match(engine.get(), 0, ids, 2, 0, &matched, nullptr) == MM2_OK);
  CHECK(matched == 0);
  int64_t evicted = -1;
  CHECK(mm2_prefix_evict(engine.get(), 1, &evicted, nullptr) == MM2_OK);
  CHECK(evicted == 0);
  CHECK(mm2_prefix_clear(engine.get(), nullptr, nullptr) == MM2_OK);
}

TEST_CASE("capi engine: arrays that are too short are refused before anything runs") {
  const auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options());
  std::vector<float> logits(2 * kVocab);
  mm2_error err = models::no_error();
  const auto refused = [&](const Step& step, float* to, size_t n, const std::string& says) {
    const mm2_batch batch = step.batch();
    CHECK(mm2_engine_step(engine.get(), &batch, to, n, nullptr, &err) == MM2_E_INVALID_ARGUMENT);
    INFO(err.message);
    CHECK(std::string(err.message).find(says) != std::string::npos);
    CHECK(length(engine, 0) == 0);
  };
  refused({{{0, 0, 2, 2}}, {1, 2}}, logits.data(), 2 * kVocab - 1, "2 rows of 512");
  refused({{{0, 0, 2, 2}}, {1, 2}}, nullptr, 0, "logits is NULL");
  refused({{{0, 0, 3, 1}}, {1, 2}}, logits.data(), kVocab, "3 tokens");
  refused({{{0, 0, 2, 1}}, {}}, logits.data(), kVocab, "n_tokens");
  refused({{}, {1}}, logits.data(), kVocab, "n_seqs");
  refused({{{0, 0, 2, INT32_MAX}}, {1, 2}}, logits.data(), kVocab, "rows");
}

TEST_CASE("capi engine: an exhausted pool and an interrupt are conditions, not damage") {
  const auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options());
  std::vector<float> logits(kVocab);
  const std::vector<int32_t> ids(64, 5);
  for (int32_t seq = 0; seq < 4; ++seq)
    REQUIRE(Step{{{seq, 0, 64, 0}}, ids}.run(engine.get(), logits) == MM2_OK);
  int64_t free_blocks = -1;
  REQUIRE(mm2_kv_pool(engine.get(), &free_blocks, nullptr, nullptr, nullptr) == MM2_OK);
  CHECK(free_blocks == 0);
  mm2_error err = models::no_error();
  CHECK(Step{{{0, 64, 1, 1}}, {5}}.run(engine.get(), logits, &err) == MM2_KV_EXHAUSTED);
  CHECK(err.code == MM2_KV_EXHAUSTED);
  REQUIRE(mm2_seq_free(engine.get(), 1, nullptr) == MM2_OK);

  mm2_engine_interrupt(engine.get());
  CHECK(Step{{{0, 64, 1, 1}}, {5}}.run(engine.get(), logits) == MM2_CANCELLED);
  CHECK(length(engine, 0) == 64);
  CHECK(Step{{{0, 64, 1, 1}}, {5}}.run(engine.get(), logits) == MM2_OK);
  CHECK(length(engine, 0) == 65);

  mm2_engine_interrupt(engine.get());
  mm2_engine_clear_interrupt(engine.get());
  CHECK(Step{{{0, 65, 1, 1}}, {5}}.run(engine.get(), logits) == MM2_OK);
}

TEST_CASE("capi engine: row_status says OK for every row that committed") {
  const auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options());
  std::vector<float> logits(2 * kVocab);
  std::vector<mm2_status> row_status(2, 99);
  const Step step{{{0, 0, 1, 1}, {1, 0, 2, 1}}, {1, 2, 3}};
  const mm2_batch batch = step.batch();
  REQUIRE(mm2_engine_step(engine.get(), &batch, logits.data(), logits.size(), row_status.data(),
                          nullptr) == MM2_OK);
  CHECK(row_status == std::vector<mm2_status>(2, MM2_OK));
}

TEST_CASE("capi engine: what this version cannot do is refused, never ignored") {
  mm2_model_options options;
  mm2_model_options_init(&options, sizeof options);
  mm2_model* none = nullptr;
  const auto load = [&] {
    return mm2_model_load(models::kSmall.c_str(), &options, &none, nullptr);
  };
  options.device = MM2_DEVICE_CUDA;
  options.device_plugin = "/nowhere/libmm2_cuda.so";
  CHECK(load() == MM2_E_NOT_FOUND);
  options.device = MM2_DEVICE_CPU;
  CHECK(load() == MM2_E_INVALID_ARGUMENT);  // the CPU has no plug-in
  options.device_plugin = nullptr;
  options.device = 2;
  CHECK(load() == MM2_E_INVALID_ARGUMENT);
  options.device = MM2_DEVICE_CPU;
  options.device_index = 1;
  CHECK(load() == MM2_E_INVALID_ARGUMENT);
  options.device_index = 0;
  options.isa = 55;
  CHECK(load() == MM2_E_INVALID_ARGUMENT);
  options.isa = 0;
  options.reserved = 1;
  CHECK(load() == MM2_E_INVALID_ARGUMENT);
  CHECK(none == nullptr);

  const auto model = models::load();
  mm2_engine_options engine_options = models::small_options();
  engine_options.activations = MM2_ACTIVATIONS_INT8 + 1;
  mm2_engine* engine = nullptr;
  CHECK(mm2_engine_create(model.get(), &engine_options, &engine, nullptr) ==
        MM2_E_INVALID_ARGUMENT);
  CHECK(engine == nullptr);
}

TEST_CASE("capi engine: descriptions and statistics are JSON objects") {
  const auto model = models::load();
  const auto engine = models::create(model.get(), models::small_options());
  const auto json = models::buffer();
  REQUIRE(mm2_model_describe(model.get(), json.get(), nullptr) == MM2_OK);
  CHECK(models::text(json).find("\"n_layers\":3") != std::string::npos);
  REQUIRE(mm2_engine_get_stats(engine.get(), json.get(), nullptr) == MM2_OK);
  CHECK(models::text(json).front() == '{');
  REQUIRE(mm2_build_info(json.get(), nullptr) == MM2_OK);
  CHECK(models::text(json).find(mm2_version_string()) != std::string::npos);
  REQUIRE(mm2_system_info(json.get(), nullptr) == MM2_OK);
  CHECK(models::text(json).find("\"cores\":") != std::string::npos);
}
