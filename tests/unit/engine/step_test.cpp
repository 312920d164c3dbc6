// The contract of a step: what is refused, and that a step which fails leaves no trace.
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "support/engine.h"
#include "support/golden.h"

using mm2::Code;
using mm2::SeqRows;

namespace {

const std::string kModel = golden::kModels + "bf16_single";

mm2::EngineOptions small_engine() {
  return {.max_seqs = 4,
          .max_tokens_per_step = 128,
          .max_outputs_per_step = 64,
          .kv_tokens = 256,
          .n_threads = 2};
}

}  // namespace

TEST_CASE("step: each wrong batch is refused with its numbers and changes nothing") {
  const auto engine = support::engine(support::load(kModel), small_engine());
  std::vector<float> logits(64 * 512);
  std::vector<int32_t> tokens(200, 1);
  support::all_logits(*engine, 0, {1, 2, 3});

  struct Case {
    std::vector<SeqRows> rows;
    size_t n_tokens, n_logits;
    const char* says;
  };
  const std::vector<Case> cases = {
      {{}, 0, 512, "no rows"},
      {{{-1, 0, 1, 1}}, 1, 512, "seq_id"},
      {{{1, 0, 0, 0}}, 0, 512, "n_tokens is 0"},
      {{{1, 0, 2, 3}}, 2, 2048, "n_outputs is 3"},
      {{{1, 0, 2, -1}}, 2, 512, "n_outputs is -1"},
      {{{1, 5, 1, 1}}, 1, 512, "first_position is 5, the sequence holds 0"},
      {{{0, 2, 1, 1}}, 1, 512, "first_position is 2, the sequence holds 3"},
      {{{1, 0, 1, 1}, {1, 0, 1, 1}}, 2, 1024, "also row 0"},
      {{{1, 0, 2, 1}}, 1, 512, "rows have 2 tokens, 1 are given"},
      {{{1, 0, 129, 1}}, 129, 512, "max_tokens_per_step is 128"},
      {{{1, 0, 70, 65}}, 70, 65 * 512, "max_outputs_per_step is 64"},
      {{{1, 0, 2, 2}}, 2, 1023, "need 1024"},
      {{{1, 0, 1, 1}, {2, 0, 1, 1}, {3, 0, 1, 1}, {4, 0, 1, 1}, {5, 0, 1, 1}}, 5, 2560, "max_seqs"},
  };
  for (const Case& c : cases) {
    const mm2::Status status =
        engine->step(c.rows, std::span(tokens).first(c.n_tokens),
                     std::span(logits).first(std::min(c.n_logits, logits.size())), {});
    INFO(c.says << " / " << status.message());
    CHECK(status.code() == Code::invalid_argument);
    CHECK(status.message().find(c.says) != std::string::npos);
    CHECK(engine->seq_length(0) == 3);
    CHECK(engine->seq_length(1) == 0);
  }
  tokens[0] = 512;
  const SeqRows row{1, 0, 1, 1};
  const mm2::Status status = engine->step({&row, 1}, std::span(tokens).first(1), logits, {});
  CHECK(status.code() == Code::invalid_argument);
  CHECK(status.message().find("token 0 is 512, the vocabulary has ids 0 to 511") !=
        std::string::npos);
}

TEST_CASE("step: a batch that does not fit the pool is KV_EXHAUSTED and runs after room is made") {
  const auto engine = support::engine(support::load(kModel), small_engine());
  const std::vector<int32_t> tokens(128, 7);
  std::vector<float> logits(512);
  const SeqRows first{0, 0, 128, 0};
  REQUIRE(engine->step({&first, 1}, tokens, logits, {}).ok());
  const std::vector<SeqRows> two = {{1, 0, 64, 0}, {2, 0, 64, 1}};
  REQUIRE(engine->step(two, tokens, logits, {}).ok());
  // Row 0 would fit a block that is free only on paper: all rows or none.
  const std::vector<SeqRows> more = {{1, 64, 1, 0}, {0, 128, 1, 1}};
  const mm2::Status status = engine->step(more, std::span(tokens).first(2), logits, {});
  CHECK(status.code() == Code::kv_exhausted);
  CHECK(engine->seq_length(0) == 128);
  CHECK(engine->seq_length(1) == 64);
  CHECK(engine->kv_pool().n_free() == 0);
  REQUIRE(engine->seq_free(2).ok());
  CHECK(engine->step({more.data(), 1}, std::span(tokens).first(1), logits, {}).ok());
}

TEST_CASE("step: an interrupted step is cancelled, keeps nothing, and the engine goes on") {
  const auto engine = support::engine(support::load(kModel), small_engine());
  const auto before = support::all_logits(*engine, 0, {5, 6, 7});
  engine->interrupt();
  std::vector<float> logits(512);
  const std::vector<int32_t> tokens = {9};
  const SeqRows row{0, 3, 1, 1};
  CHECK(engine->step({&row, 1}, tokens, logits, {}).code() == Code::cancelled);
  CHECK(engine->seq_length(0) == 3);
  CHECK(engine->step({&row, 1}, tokens, logits, {}).ok());
  CHECK(engine->seq_length(0) == 4);
}

TEST_CASE("step: interrupt from another thread ends a running step before its next layer") {
  const auto engine = support::engine(support::load(kModel), small_engine());
  // The observer is called inside the step: it interrupts while layer 1 runs, so layer 2 must not
  // start.
  struct Spy {
    mm2::Engine* engine;
    int32_t last_layer = -1;
  } spy{engine.get()};
  const mm2::kernels::Observer observer{&spy, [](void* self, const char* name, int32_t layer,
                                                 const void*, int32_t, int64_t, int64_t) {
                                          auto& s = *static_cast<Spy*>(self);
                                          s.last_layer = layer;
                                          if (layer == 1 && std::strcmp(name, "attn_out") == 0) {
                                            std::thread([&s] { s.engine->interrupt(); }).join();
                                          }
                                        }};
  engine->observe(&observer);
  std::vector<float> logits(512);
  const std::vector<int32_t> tokens(100, 3);
  const SeqRows row{0, 0, 100, 1};
  CHECK(engine->step({&row, 1}, tokens, logits, {}).code() == Code::cancelled);
  // "hidden" after layer 1 is shown as layer 2; nothing of layer 2 itself follows.
  CHECK(spy.last_layer == 2);
  CHECK(engine->kv_pool().n_free() == engine->kv_pool().n_blocks());
}

TEST_CASE("step: a second caller is told that the engine is busy") {
  const auto engine = support::engine(support::load(kModel), small_engine());
  struct Spy {
    mm2::Engine* engine;
    Code code = Code::ok;
  } spy{engine.get()};
  const mm2::kernels::Observer observer{
      &spy, [](void* self, const char*, int32_t, const void*, int32_t, int64_t, int64_t) {
        auto& s = *static_cast<Spy*>(self);
        s.code = s.engine->seq_truncate(0, 0).code();
      }};
  engine->observe(&observer);
  support::all_logits(*engine, 0, {1});
  CHECK(spy.code == Code::busy);
}

TEST_CASE("step: a sequence with NaN fails alone, the others get the bits they get without it") {
  // Poisoned weights would hit everybody: the NaN is put into one sequence's residual stream from
  // the side.
  const auto engine = support::engine(support::load(kModel), small_engine());
  const auto alone = support::all_logits(*engine, 1, {5, 6, 7});
  REQUIRE(engine->seq_free(1).ok());
  const mm2::kernels::Observer poison{
      nullptr, [](void*, const char* name, int32_t layer, const void* values, int32_t, int64_t,
                  int64_t width) {
        if (std::strcmp(name, "hidden") == 0 && layer == 1) {
          auto* h = const_cast<float*>(static_cast<const float*>(values));
          // token 1 = second token of row 0
          h[width + 3] = std::numeric_limits<float>::quiet_NaN();
        }
      }};
  engine->observe(&poison);
  std::vector<float> logits(3 * 512);
  const std::vector<SeqRows> rows = {{0, 0, 2, 0}, {1, 0, 3, 3}};
  const std::vector<int32_t> tokens = {1, 2, 5, 6, 7};
  std::vector<Code> codes(2);
  REQUIRE(engine->step(rows, tokens, logits, codes).ok());
  CHECK(codes[0] == Code::numeric);
  CHECK(codes[1] == Code::ok);
  CHECK(engine->seq_length(0) == 0);
  CHECK(engine->seq_length(1) == 3);
  CHECK(std::memcmp(logits.data(), alone.data(), alone.size() * sizeof(float)) == 0);
  // Without row codes nobody would hear of it: then nothing is kept.
  const std::vector<SeqRows> again = {{0, 0, 2, 0}, {1, 3, 1, 1}};
  const std::vector<int32_t> more = {1, 2, 5};
  CHECK(engine->step(again, more, logits, {}).code() == Code::numeric);
  CHECK(engine->seq_length(1) == 3);
}

TEST_CASE("engine: an option out of range is refused with the range") {
  const auto model = support::load(kModel);
  const std::pair<mm2::EngineOptions, const char*> cases[] = {
      {{.max_seqs = -1}, "max_seqs is -1, allowed are 1 to"},
      {{.max_tokens_per_step = 1 << 21}, "max_tokens_per_step"},
      {{.max_tokens_per_step = 4, .max_outputs_per_step = 5}, "allowed are 1 to 4"},
      {{.kv_tokens = -5}, "kv_tokens is -5"},
      {{.kv_block_size = 100}, "multiple of 64"},
      {{.kv_dtype = mm2::KvDtype::fp8}, "has no scales for it"},
      {{.kv_scales = mm2::KvScaleSource{7}}, "kv_scales is 7"},
      {{.activations = mm2::Activations{9}}, "activations is 9"},
      {{.n_threads = -2}, "n_threads is -2"},
  };
  for (const auto& [options, says] : cases) {
    const auto engine = mm2::Engine::create(model, options, mm2::Host{});
    REQUIRE_FALSE(engine.ok());
    INFO(engine.status().message());
    CHECK(engine.status().message().find(says) != std::string::npos);
  }
}

TEST_CASE("engine: a model without weights cannot run, and says why") {
  auto model = mm2::Model::load(kModel, {.metadata_only = true}, mm2::Host{});
  REQUIRE(model.ok());
  CHECK((*model)->config().n_layers == 3);
  const auto engine = mm2::Engine::create(*model, {}, mm2::Host{});
  REQUIRE_FALSE(engine.ok());
  CHECK(engine.status().message().find("metadata_only") != std::string::npos);
}
