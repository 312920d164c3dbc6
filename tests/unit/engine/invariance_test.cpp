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

TEST_CASE("invariance: activations of 8 bits, in any schedule and on every instruction set") {
  for (const std::string folder : {"gptq_desc_act", "ct_w4a16_asym", "ct_mixed"}) {
    const mm2::EngineOptions options{
        .max_seqs = 6, .kv_tokens = 1024, .activations = mm2::Activations::int8, .n_threads = 2};
    std::vector<std::vector<int32_t>> texts;
    for (const auto& prompt : golden::prompts(folder, "tight")) texts.push_back(prompt.ids);
    std::vector<std::vector<float>> wanted;
    for (const mm2::Isa isa :
         {mm2::Isa::reference, mm2::Isa::generic, mm2::Isa::avx2, mm2::Isa::avx512}) {
      const auto model = mm2::Model::load(golden::kModels + folder, {.isa = isa}, mm2::Host{});
      if (!model.ok()) continue;  // a machine without these instructions
      const auto engine = support::engine(*model, options);
      INFO(folder << ", isa " << static_cast<int32_t>(isa));
      // The reference calls the C library for exp, sine and cosine: it shows that the rest runs.
      if (isa == mm2::Isa::reference) {
        (void)support::all_logits(*engine, 0, texts[0]);
        continue;
      }
      for (size_t i = 0; i < texts.size(); ++i) {
        const auto logits = support::all_logits(*engine, 0, texts[i]);
        REQUIRE(engine->seq_free(0).ok());
        if (wanted.size() == i) wanted.push_back(logits);
        CHECK(same_bits(wanted[i].data(), logits.data(), logits.size()));
      }
      int compared = 0;
      for (uint32_t schedule = 0; schedule < 20; ++schedule) {
        const auto busy = support::engine(*model, options);
        compared += RandomHost(*busy, texts, wanted, schedule).run(12);
      }
      CHECK(compared > 500);
    }
  }
}
