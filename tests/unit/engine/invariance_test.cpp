// The bits of a sequence's logits do not depend on its company, its chunks, its past or the threads
// (docs/architecture.md).
#include "support/golden.h"
#include "support/random_host.h"

using support::RandomHost;
using support::same_bits;

TEST_CASE("invariance: 500 random schedules give the bits of each sequence alone") {
  for (const std::string folder : {"bf16", "bf16_single", "f32"}) {
    const auto model = support::load(golden::kModels + folder);
    std::vector<std::vector<int32_t>> texts;
    for (const char* set : {"tight", "natural"}) {
      for (const auto& prompt : golden::prompts(folder, set)) texts.push_back(prompt.ids);
    }
    std::vector<std::vector<float>> wanted;
    const auto alone = support::engine(model, {.max_seqs = 1, .n_threads = 1});
    for (const auto& text : texts) {
      wanted.push_back(support::all_logits(*alone, 0, text));
      REQUIRE(alone->seq_free(0).ok());
    }
    int compared = 0;
    for (uint32_t schedule = 0; schedule < 170; ++schedule) {
      const auto engine =
          support::engine(model, {.max_seqs = 6,
                                  .max_tokens_per_step = 1024,
                                  .kv_tokens = schedule % 2 == 0 ? 2048 : 512,
                                  .n_threads = 1 + static_cast<int32_t>(schedule % 3)});
      compared += RandomHost(*engine, texts, wanted, schedule).run(12);
    }
    INFO(folder << ": " << compared << " rows of logits compared");
    CHECK(compared > 5000);
  }
}

TEST_CASE("invariance: chunks of 1, 7 and 64 and 1, 2 or 3 threads give the same bits") {
  const auto model = support::load(golden::kModels + "bf16");
  const auto ids = golden::prompts("bf16", "tight")[3].ids;
  std::vector<float> first;
  for (int32_t n_threads : {1, 2, 3}) {
    for (int32_t chunk : {0, 1, 7, 64}) {
      const auto engine = support::engine(model, {.n_threads = n_threads});
      const auto logits = support::all_logits(*engine, 0, ids, chunk);
      if (first.empty()) first = logits;
      INFO(n_threads << " threads, chunk " << chunk);
      CHECK(same_bits(first.data(), logits.data(), logits.size()));
    }
  }
}
