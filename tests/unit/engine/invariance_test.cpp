// The bits of a sequence's logits do not depend on its company, its chunks, its past or the threads
// (docs/architecture.md).
#include <cstring>
#include <map>
#include <random>

#include "support/engine.h"
#include "support/golden.h"

namespace {

bool same_bits(const float* a, const float* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

// A host that drives an engine at random: prefill in random chunks beside decoding sequences,
// forks, truncations, forgetting and recomputing; every row of logits it sees must have the bits of
// the sequence run alone in one go.
class RandomHost {
 public:
  RandomHost(mm2::Engine& engine, const std::vector<std::vector<int32_t>>& texts,
             const std::vector<std::vector<float>>& wanted, uint32_t seed)
      : engine_(engine), texts_(texts), wanted_(wanted), random_(seed) {}

  // Returns the number of rows of logits compared.
  int run(int n_steps) {
    int compared = 0;
    for (int i = 0; i < n_steps; ++i) {
      disturb();
      compared += step();
    }
    for (int32_t id = 0; id < kSeqs; ++id) REQUIRE(engine_.seq_free(id).ok());
    return compared;
  }

 private:
  static constexpr int32_t kSeqs = 6;

  int32_t pick(int32_t n) { return static_cast<int32_t>(random_() % static_cast<uint32_t>(n)); }

  void disturb() {
    const int32_t id = pick(kSeqs);
    const int32_t length = engine_.seq_length(id);
    switch (pick(6)) {
      case 0:
        REQUIRE(engine_.seq_truncate(id, pick(length + 1)).ok());
        break;
      case 1:
        REQUIRE(engine_.seq_free(id).ok());
        break;
      case 2: {
        const int32_t to = pick(kSeqs);
        if (to != id && engine_.seq_length(to) == 0 && length > 0) {
          REQUIRE(engine_.seq_fork(id, to, 1 + pick(length)).ok());
          text_of_[to] = text_of_[id];
        }
        break;
      }
      default:
        break;
    }
  }

  int step() {
    std::vector<mm2::SeqRows> rows;
    std::vector<int32_t> tokens;
    for (int32_t id = 0; id < kSeqs; ++id) {
      const int32_t length = engine_.seq_length(id);
      if (length == 0) text_of_[id] = pick(static_cast<int32_t>(texts_.size()));
      const auto& text = texts_[static_cast<size_t>(text_of_[id])];
      const int32_t left = static_cast<int32_t>(text.size()) - length;
      if (left == 0 || pick(3) == 0) continue;
      const int32_t n = pick(2) == 0 ? 1 : 1 + pick(left);
      rows.push_back({id, length, n, pick(n + 1)});
      tokens.insert(tokens.end(), text.begin() + length, text.begin() + length + n);
    }
    if (rows.empty()) return 0;
    return check(rows, tokens);
  }

  int check(const std::vector<mm2::SeqRows>& rows, const std::vector<int32_t>& tokens) {
    const auto n_vocab = static_cast<size_t>(engine_.model().shape().n_vocab);
    size_t n_outputs = 0;
    for (const auto& row : rows) n_outputs += static_cast<size_t>(row.n_outputs);
    std::vector<float> logits(n_outputs * n_vocab + 1);
    const mm2::Status status = engine_.step(rows, tokens, logits, {});
    if (status.code() == mm2::Code::kv_exhausted) return 0;
    INFO(status.message());
    REQUIRE(status.ok());
    const float* got = logits.data();
    for (const auto& row : rows) {
      const auto& want = wanted_[static_cast<size_t>(text_of_[row.seq_id])];
      const auto first = static_cast<size_t>(row.first_position + row.n_tokens - row.n_outputs);
      const size_t n = static_cast<size_t>(row.n_outputs) * n_vocab;
      INFO("sequence " << row.seq_id << " positions from " << first << ", " << row.n_outputs
                       << " rows");
      REQUIRE(same_bits(got, want.data() + first * n_vocab, n));
      got += n;
    }
    return static_cast<int>(n_outputs);
  }

  mm2::Engine& engine_;
  const std::vector<std::vector<int32_t>>& texts_;
  const std::vector<std::vector<float>>& wanted_;
  std::mt19937 random_;
  std::map<int32_t, int32_t> text_of_;
};

}  // namespace

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
