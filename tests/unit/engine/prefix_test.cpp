// Prefixes found in the cache change no bit of any logits, and never belong to another text or tenant.
#include <numeric>

#include "support/golden.h"
#include "support/random_host.h"

namespace {

using support::RandomHost;
using support::same_bits;

// A hash of one bit: half of all blocks collide.
mm2::Digest one_bit(const mm2::PrefixSecret&, const mm2::Digest& before, uint64_t salt,
                    std::span<const int32_t> tokens) {
  uint64_t bit = before[0] ^ salt;
  for (const int32_t token : tokens) bit ^= static_cast<uint64_t>(token);
  return {bit & 1};
}

// Everything collides.
mm2::Digest no_bit(const mm2::PrefixSecret&, const mm2::Digest&, uint64_t,
                   std::span<const int32_t>) {
  return {};
}

// Texts that begin alike and go apart at and around the borders of blocks.
std::vector<std::vector<int32_t>> texts_with_common_beginnings(int32_t n_vocab) {
  std::mt19937 random(64);
  const auto token = [&] {
    return static_cast<int32_t>(random() % static_cast<uint32_t>(n_vocab));
  };
  std::vector<int32_t> trunk(200);
  for (int32_t& t : trunk) t = token();
  std::vector<std::vector<int32_t>> texts = {trunk};
  for (const size_t common : {1, 63, 64, 65, 127, 128, 129, 192}) {
    texts.emplace_back(trunk.begin(), trunk.begin() + static_cast<ptrdiff_t>(common));
    while (texts.back().size() < common + 70) texts.back().push_back(token());
  }
  // The second block of the trunk after another first block.
  texts.push_back(trunk);
  texts.back()[0] = (trunk[0] + 1) % n_vocab;
  texts.emplace_back(trunk.begin(), trunk.begin() + 128);
  return texts;
}

std::vector<std::vector<float>> each_alone(const std::shared_ptr<const mm2::Model>& model,
                                           const std::vector<std::vector<int32_t>>& texts) {
  std::vector<std::vector<float>> wanted;
  const auto alone = support::engine(
      model, {.max_seqs = 1, .n_threads = 1, .prefix_cache = mm2::PrefixCaching::no});
  for (const auto& text : texts) {
    wanted.push_back(support::all_logits(*alone, 0, text));
    REQUIRE(alone->seq_free(0).ok());
  }
  return wanted;
}

uint64_t counted(const mm2::Engine& engine, const char* name) {
  return engine.stats()["prefix"][name].get<uint64_t>();
}

}  // namespace

TEST_CASE(
    "prefix: random schedules with hits, evictions and collisions give the bits of each alone") {
  const auto model = support::load(golden::kModels + "bf16_single");
  const auto texts = texts_with_common_beginnings(model->shape().n_vocab);
  const auto wanted = each_alone(model, texts);
  int compared = 0;
  uint64_t hits = 0, evicted = 0, merged = 0;
  for (uint32_t schedule = 0; schedule < 160; ++schedule) {
    mm2::EngineOptions options{.max_seqs = 6,
                               .max_tokens_per_step = 2048,
                               .kv_tokens = schedule % 3 == 0 ? 4096 : 704,
                               .n_threads = 1 + static_cast<int32_t>(schedule % 2)};
    if (schedule % 4 == 1) options.prefix_hash = &one_bit;
    if (schedule % 4 == 2) options.prefix_hash = &no_bit;
    const auto engine = support::engine(model, options);
    compared += RandomHost(*engine, texts, wanted, schedule, 1 + schedule % 2).run(25);
    hits += counted(*engine, "hits");
    evicted += counted(*engine, "evicted_blocks");
    merged += counted(*engine, "merged_blocks");
    REQUIRE(engine->prefix_clear({}).ok());
    REQUIRE(engine->kv_pool().n_free() == engine->kv_pool().n_blocks());
    REQUIRE(counted(*engine, "cached_blocks") == 0);
  }
  INFO(compared << " rows, " << hits << " hits, " << evicted << " evicted, " << merged
                << " merged");
  CHECK(compared > 15000);
  CHECK(hits > 300);
  CHECK(evicted > 100);
  CHECK(merged > 100);
}
