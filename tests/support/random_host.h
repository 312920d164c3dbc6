// Random schedules for an engine, checked against each sequence run alone.
#pragma once

#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "support/engine.h"

namespace support {

inline bool same_bits(const float* a, const float* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

// A host that drives an engine at random: prefill in random chunks beside decoding sequences,
// forks, truncations, forgetting and recomputing, export and import, and where `tenants` is not 0, prefixes found in the
// cache under the salts of so many tenants; every row of logits it sees must have the bits of
// the sequence run alone in one go.
class RandomHost {
 public:
  RandomHost(mm2::Engine& engine, const std::vector<std::vector<int32_t>>& texts,
             const std::vector<std::vector<float>>& wanted, uint32_t seed, int32_t tenants = 0)
      : engine_(engine), texts_(texts), wanted_(wanted), random_(seed), tenants_(tenants) {}

  // Returns the number of rows of logits compared.
  int run(int n_steps) {
    int compared = 0;
    for (int i = 0; i < n_steps; ++i) {
      disturb();
      compared += step();
    }
    for (int32_t id = 0; id < kSeqs; ++id) REQUIRE(engine_.seq_free(id).ok());
    const mm2::BlockPool& pool = engine_.kv_pool();
    REQUIRE(pool.n_available() == pool.n_blocks());
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
      case 3:
        if (tenants_ != 0) REQUIRE(engine_.prefix_evict(pick(3)).ok());
        if (tenants_ != 0 && pick(8) == 0) {
          REQUIRE(engine_.prefix_clear(static_cast<uint64_t>(pick(tenants_))).ok());
        }
        break;
      case 4:
        if (length > 0) preempt(id);
        break;
      default:
        break;
    }
  }

  // Away, and back as bytes: with blocks of its own now, for which there may be no room.
  void preempt(int32_t id) {
    const auto bytes = engine_.seq_export(id);
    REQUIRE(bytes.ok());
    REQUIRE(engine_.seq_free(id).ok());
    const mm2::Status status = engine_.seq_import(id, *bytes);
    INFO(status.message());
    REQUIRE((status.ok() || status.code() == mm2::Code::kv_exhausted));
  }

  // An empty sequence takes up another text, most often where the cache left it.
  void begin(int32_t id) {
    text_of_[id] = pick(static_cast<int32_t>(texts_.size()));
    if (tenants_ == 0 || pick(4) == 0) return;
    const auto& text = texts_[static_cast<size_t>(text_of_[id])];
    const auto matched = engine_.prefix_match(id, text, static_cast<uint64_t>(pick(tenants_)));
    REQUIRE(matched.ok());
    REQUIRE(*matched < static_cast<int32_t>(text.size()));
    REQUIRE(*matched == engine_.seq_length(id));
  }

  int step() {
    std::vector<mm2::SeqRows> rows;
    std::vector<int32_t> tokens;
    for (int32_t id = 0; id < kSeqs; ++id) {
      if (engine_.seq_length(id) == 0) begin(id);
      const int32_t length = engine_.seq_length(id);
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
  int32_t tenants_;
  std::map<int32_t, int32_t> text_of_;
};

}  // namespace support
