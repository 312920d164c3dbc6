// Sequences as bytes: they go on with the same bits, and what is damaged or foreign is refused.
#include <cstring>
#include <numeric>

#include "base/blake2b.h"
#include "support/golden.h"
#include "support/random_host.h"

namespace {

using support::same_bits;

// Where the fields of the header lie that the tests forge.
constexpr size_t kVersionAt = 8, kTotalBytesAt = 16, kTokensAt = 80;
constexpr size_t kHeaderBytes = 88, kDigestBytes = sizeof(mm2::Digest);

std::vector<int32_t> counting(int32_t first, int32_t n) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::string exported(const mm2::Engine& engine, int32_t seq_id) {
  const auto bytes = engine.seq_export(seq_id);
  INFO(bytes.status().message());
  REQUIRE(bytes.ok());
  return *bytes;
}

// With the checksum that belongs to it: somebody meant it.
std::string sealed(std::string bytes) {
  mm2::Blake2b hash;
  hash.add(bytes.data(), bytes.size() - kDigestBytes);
  const mm2::Digest digest = hash.finish();
  std::memcpy(bytes.data() + bytes.size() - kDigestBytes, &digest, kDigestBytes);
  return bytes;
}

std::string with(std::string bytes, size_t at, uint32_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
  return sealed(std::move(bytes));
}

void refused(mm2::Engine& engine, std::string_view bytes, mm2::Code code, const std::string& says) {
  const int32_t n_free = engine.kv_pool().n_free();
  const mm2::Status status = engine.seq_import(5, bytes);
  INFO(status.message());
  REQUIRE(status.code() == code);
  REQUIRE(status.message().find(says) != std::string::npos);
  REQUIRE(engine.seq_length(5) == 0);
  REQUIRE(engine.kv_pool().n_free() == n_free);
}

}  // namespace

TEST_CASE("export: a sequence goes on with the same bits in another engine, whatever its blocks") {
  const auto ids = golden::prompts("bf16_single", "tight")[0].ids;
  const auto more = counting(40, 30);
  for (const mm2::KvDtype dtype : {mm2::KvDtype::f32, mm2::KvDtype::bf16, mm2::KvDtype::fp8}) {
    std::string bytes;
    std::vector<float> wanted;
    for (const mm2::Isa isa : {mm2::Isa::generic, mm2::Isa::automatic, mm2::Isa::reference}) {
      const auto model = support::load(golden::kModels + "bf16_single", isa);
      for (const int32_t block_size : {64, 192}) {
        const auto engine = support::engine(model, {.max_seqs = 2,
                                                    .kv_block_size = block_size,
                                                    .kv_dtype = dtype,
                                                    .kv_scales = mm2::KvScaleSource::one,
                                                    .n_threads = 1});
        if (wanted.empty()) {
          support::all_logits(*engine, 0, ids);
          bytes = exported(*engine, 0);
          wanted = support::all_logits(*engine, 0, more);
          continue;
        }
        INFO(engine->model().backend().name << ", blocks of " << block_size << ", kv "
                                            << static_cast<int>(dtype));
        const mm2::Status status = engine->seq_import(7, bytes);
        INFO(status.message());
        REQUIRE(status.ok());
        CHECK(exported(*engine, 7) == bytes);
        if (isa == mm2::Isa::reference) continue;  // adds up in another order
        const auto logits = support::all_logits(*engine, 7, more);
        CHECK(same_bits(logits.data(), wanted.data(), wanted.size()));
      }
    }
  }
}

TEST_CASE(
    "export: every bit flipped and every truncation is refused, and the engine is as before") {
  const auto model = support::load(golden::kModels + "bf16_single");
  const auto engine = support::engine(model, {.max_seqs = 4, .n_threads = 1});
  support::all_logits(*engine, 0, counting(10, 3));
  const std::string bytes = exported(*engine, 0);
  const int32_t n_free = engine->kv_pool().n_free();
  int accepted = 0, silent = 0;
  const auto try_out = [&](std::string_view forged) {
    const mm2::Status status = engine->seq_import(5, forged);
    accepted += status.ok() ? 1 : 0;
    silent += status.message().empty() ? 1 : 0;
  };
  for (size_t i = 0; i < bytes.size() * 8; ++i) {
    std::string flipped = bytes;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << i % 8));
    try_out(flipped);
  }
  for (size_t n = 0; n < bytes.size(); ++n) try_out(std::string_view(bytes).substr(0, n));
  try_out(bytes + '\0');
  CHECK(accepted == 0);
  CHECK(silent == 0);
  CHECK(engine->kv_pool().n_free() == n_free);
  CHECK(engine->seq_length(5) == 0);
  CHECK(exported(*engine, 0) == bytes);
  CHECK(engine->seq_import(5, bytes).ok());
}

TEST_CASE(
    "export: sound bytes that lie are refused by name, with and without a matching checksum") {
  const auto model = support::load(golden::kModels + "bf16_single");
  const auto engine = support::engine(model, {.max_seqs = 4, .n_threads = 1});
  support::all_logits(*engine, 0, counting(10, 3));
  const std::string bytes = exported(*engine, 0);
  using mm2::Code;
  refused(*engine, with(bytes, 0, 0), Code::format, "does not begin");
  refused(*engine, with(bytes, kVersionAt, 2), Code::unsupported, "version 2");
  refused(*engine, with(bytes, kTotalBytesAt, 1), Code::format, "its header says 1");
  refused(*engine, with(bytes, kTokensAt, 4), Code::format, "4 tokens");
  refused(*engine, with(bytes, kTokensAt, 0), Code::format, "0 tokens");
  refused(*engine, with(bytes, kTokensAt, 0x80000000), Code::format, "tokens");
  refused(*engine, with(bytes, kTokensAt + 4, 1), Code::format, "contradicts");
  refused(*engine, with(bytes, kHeaderBytes, 512), Code::invalid_argument, "token 0 is 512");
  refused(*engine, with(bytes, 24, 0), Code::invalid_argument, "another model");
  refused(*engine, with(bytes, kHeaderBytes + 12, 0).substr(1), Code::format, "does not begin");
  refused(*engine, "", Code::format, "0 bytes");
  CHECK(engine->seq_export(3).status().code() == Code::not_found);
  CHECK(engine->seq_import(0, bytes).code() == Code::invalid_argument);
  CHECK(engine->seq_import(-1, bytes).code() == Code::invalid_argument);
}

TEST_CASE("export: what another model, cache or arithmetic computed is refused") {
  const auto model = support::load(golden::kModels + "bf16_single");
  const mm2::EngineOptions options{.max_seqs = 4, .n_threads = 1};
  const auto engine = support::engine(model, options);
  support::all_logits(*engine, 0, counting(10, 3));
  const std::string bytes = exported(*engine, 0);
  using mm2::Code;
  const auto other_model = support::engine(support::load(golden::kModels + "f32"), options);
  refused(*other_model, bytes, Code::invalid_argument, "another model");
  mm2::EngineOptions changed = options;
  changed.kv_dtype = mm2::KvDtype::f32;
  refused(*support::engine(model, changed), bytes, Code::invalid_argument, "2 bytes each, here 4");
  changed.activations = mm2::Activations::f32;
  changed.kv_dtype = mm2::KvDtype::bf16;
  refused(*support::engine(model, changed), bytes, Code::invalid_argument, "activations 1, here 2");
}

TEST_CASE("export: a pool without room says so and stays as it was") {
  const auto model = support::load(golden::kModels + "bf16_single");
  const auto engine = support::engine(model, {.max_seqs = 4, .kv_tokens = 128, .n_threads = 1});
  support::all_logits(*engine, 0, counting(10, 70));
  refused(*engine, exported(*engine, 0), mm2::Code::kv_exhausted, "are free");
}

TEST_CASE("export: a sequence imported under the name of an empty match is cached for its tenant") {
  const auto model = support::load(golden::kModels + "bf16_single");
  const auto engine = support::engine(model, {.max_seqs = 4, .n_threads = 1});
  const auto text = counting(10, 130);
  support::all_logits(*engine, 0, text);
  const std::string bytes = exported(*engine, 0);
  REQUIRE(engine->seq_free(0).ok());
  REQUIRE(engine->prefix_match(1, text, 9).ok());
  REQUIRE(engine->seq_import(1, bytes).ok());
  CHECK(*engine->prefix_match(2, text, 9) == 128);
  CHECK(*engine->prefix_match(3, text, 8) == 0);
}
