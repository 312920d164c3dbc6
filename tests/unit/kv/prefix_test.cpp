// The prefix cache by itself: what is found, what is not, what goes first.
#include <algorithm>
#include <numeric>
#include <vector>

#include "kv/sequences.h"

#include <catch2/catch.hpp>

namespace {

constexpr int32_t kBlockSize = 64;

std::vector<int32_t> counting(int32_t first, int32_t n) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::vector<int32_t> joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

mm2::Digest same_for_all(const mm2::PrefixSecret&, const mm2::Digest&, uint64_t,
                         std::span<const int32_t>) {
  return {};
}

struct Pool {
  explicit Pool(int32_t n_blocks, int32_t max_seqs = 8, mm2::BlockHash hash = &mm2::hash_block)
      : bytes(static_cast<size_t>(n_blocks * kBlockSize)),
        sequences({.data = bytes.data(),
                   .layer_stride = int64_t{n_blocks} * kBlockSize,
                   .block_bytes = kBlockSize,
                   .n_layers = 1,
                   .n_blocks = n_blocks,
                   .block_size = kBlockSize,
                   .max_positions = 10000},
                  max_seqs, mm2::PrefixOptions{.hash = hash}) {}

  int32_t match(int32_t seq_id, const std::vector<int32_t>& text, uint64_t salt = 0) {
    const auto matched = sequences.match(seq_id, text, salt);
    INFO(matched.status().message());
    REQUIRE(matched.ok());
    return *matched;
  }
  mm2::Status append(int32_t seq_id, const std::vector<int32_t>& tokens) {
    MM2_RETURN_IF_ERROR(
        sequences.reserve(seq_id, sequences.length(seq_id) + static_cast<int32_t>(tokens.size())));
    sequences.commit(seq_id, tokens);
    return {};
  }
  // Runs a whole text, as much of it from the cache as there is; how much that was.
  int32_t run(int32_t seq_id, const std::vector<int32_t>& text, uint64_t salt = 0) {
    const int32_t matched = match(seq_id, text, salt);
    REQUIRE(append(seq_id, {text.begin() + matched, text.end()}).ok());
    return matched;
  }
  int32_t n_free() const { return sequences.pool().n_free(); }
  int32_t n_idle() const { return sequences.pool().n_idle(); }

  std::vector<std::byte> bytes;
  mm2::Sequences sequences;
};

}  // namespace

TEST_CASE("prefix: whole blocks are found again, and never the last token of the prompt") {
  Pool pool(16);
  const auto text = counting(0, 200);
  CHECK(pool.run(1, text) == 0);
  CHECK(pool.match(2, text) == 192);
  CHECK(pool.match(3, counting(0, 192)) == 128);
  CHECK(pool.match(4, counting(0, 193)) == 192);
  CHECK(pool.match(5, counting(0, 64)) == 0);
  CHECK(pool.match(6, counting(0, 1)) == 0);
  CHECK(pool.match(7, counting(1, 200)) == 0);
  CHECK(pool.sequences.blocks(2)[2] == pool.sequences.blocks(1)[2]);
}

TEST_CASE("prefix: the blocks of a freed sequence are free for steps and still found") {
  Pool pool(4);
  pool.run(1, counting(0, 130));
  pool.sequences.free(1);
  CHECK(pool.n_idle() == 2);
  CHECK(pool.sequences.pool().n_available() == 4);
  CHECK(pool.match(2, counting(0, 130)) == 128);
  CHECK(pool.n_idle() == 0);
}

TEST_CASE("prefix: what one tenant has cached is not found by another, nor by a private sequence") {
  Pool pool(16);
  const auto text = counting(0, 130);
  REQUIRE(pool.append(1, text).ok());  // no match(): private
  CHECK(pool.match(2, text, 0) == 0);
  CHECK(pool.run(3, text, 7) == 0);
  CHECK(pool.match(4, text, 8) == 0);
  CHECK(pool.match(5, text, 7) == 128);
}

TEST_CASE("prefix: when every hash is the same, only the same text of the same tenant is found") {
  Pool pool(64, 16, &same_for_all);
  const auto a = counting(0, 64), b = counting(100, 64), c = counting(200, 64);
  const auto end = counting(0, 1);
  pool.run(1, joined(joined(a, b), end), 1);
  pool.run(2, joined(joined(c, b), end), 1);
  pool.run(3, joined(joined(b, a), end), 2);
  CHECK(pool.match(4, joined(joined(a, b), end), 1) == 128);
  CHECK(pool.sequences.blocks(4)[1] == pool.sequences.blocks(1)[1]);
  CHECK(pool.match(5, joined(joined(c, b), end), 1) == 128);
  CHECK(pool.sequences.blocks(5)[1] == pool.sequences.blocks(2)[1]);
  CHECK(pool.match(6, joined(joined(b, b), end), 1) == 0);
  CHECK(pool.match(7, joined(joined(b, a), end), 1) == 0);
  CHECK(pool.match(8, joined(joined(b, b), end), 2) == 64);
  CHECK(pool.match(9, joined(b, end), 1) == 0);  // b is cached as a second block only
}

TEST_CASE(
    "prefix: under pressure the blocks used longest ago go first, the ends of texts before their "
    "beginnings") {
  Pool pool(6);
  pool.run(1, counting(0, 129));
  pool.sequences.free(1);
  pool.run(2, counting(1000, 129));
  pool.sequences.free(2);
  REQUIRE(pool.n_idle() == 4);
  REQUIRE(pool.append(3, counting(5000, 3 * 64)).ok());
  CHECK(pool.sequences.prefix_counters().evicted_blocks == 1);
  CHECK(pool.match(4, counting(0, 129)) == 64);
  pool.sequences.free(4);
  REQUIRE(pool.append(3, counting(6000, 64)).ok());
  CHECK(pool.match(5, counting(0, 129)) == 64);
  CHECK(pool.match(6, counting(1000, 129)) == 64);
}

TEST_CASE("prefix: a step is refused only when every block is held") {
  Pool pool(3);
  pool.run(1, counting(0, 129));
  CHECK(pool.sequences.reserve(2, 1).code() == mm2::Code::kv_exhausted);
  pool.sequences.free(1);
  CHECK(pool.append(2, counting(9, 192)).ok());
  CHECK(pool.sequences.n_cached() == 0);
}

TEST_CASE("prefix: a cached block is copied before a truncated sequence goes on differently") {
  Pool pool(8);
  const auto text = counting(0, 128);
  pool.run(1, text);
  REQUIRE(pool.sequences.truncate(1, 100).ok());
  const int32_t before = pool.sequences.blocks(1)[1];
  REQUIRE(pool.append(1, counting(700, 28)).ok());
  CHECK(pool.sequences.blocks(1)[1] != before);
  CHECK(pool.match(2, joined(text, {1})) == 128);
  CHECK(pool.match(3, joined(joined(counting(0, 100), counting(700, 28)), {1})) == 128);
}

TEST_CASE("prefix: without room for that copy the block leaves the cache, and the step runs") {
  Pool pool(2);
  pool.run(1, counting(0, 128));
  REQUIRE(pool.sequences.truncate(1, 100).ok());
  REQUIRE(pool.append(1, counting(700, 28)).ok());
  CHECK(pool.match(2, joined(counting(0, 128), {1})) == 64);
  pool.sequences.free(2);
  CHECK(pool.match(2, joined(joined(counting(0, 100), counting(700, 28)), {1})) == 128);
}

TEST_CASE("prefix: forks of a matched sequence share, diverge, and cache under its salt") {
  Pool pool(16);
  const auto text = counting(0, 130);
  pool.run(1, text, 5);
  REQUIRE(pool.sequences.fork(1, 2, 130).ok());
  REQUIRE(pool.append(2, counting(900, 62)).ok());
  REQUIRE(pool.append(1, counting(800, 62)).ok());
  CHECK(pool.match(3, joined(joined(text, counting(900, 62)), {1}), 5) == 192);
  CHECK(pool.match(4, joined(joined(text, counting(800, 62)), {1}), 5) == 192);
  CHECK(pool.match(5, joined(joined(text, counting(800, 62)), {1}), 6) == 0);
}

TEST_CASE("prefix: a fork into a name that matched nothing takes over its slot") {
  Pool pool(16, 2);
  pool.run(1, counting(0, 130), 5);
  CHECK(pool.match(2, counting(7, 130), 6) == 0);
  REQUIRE(pool.sequences.fork(1, 2, 100).ok());
  CHECK(pool.sequences.n_seqs() == 2);
  pool.sequences.free(1);
  pool.sequences.free(2);
  CHECK(pool.sequences.n_seqs() == 0);
  CHECK(pool.sequences.pool().n_available() == 16);
}

TEST_CASE("prefix: blocks that two sequences compute at once are kept once") {
  Pool pool(8);
  const auto text = counting(0, 130);
  pool.match(1, text);
  pool.match(2, text);
  REQUIRE(pool.append(1, text).ok());
  REQUIRE(pool.append(2, text).ok());
  CHECK(pool.sequences.blocks(1)[1] == pool.sequences.blocks(2)[1]);
  CHECK(pool.sequences.prefix_counters().merged_blocks == 2);
  CHECK(pool.n_free() == 8 - 4);
}

TEST_CASE("prefix: a step that is rolled back leaves a matched sequence, also one without tokens") {
  Pool pool(8);
  const auto text = counting(0, 130);
  pool.match(1, text, 3);
  REQUIRE(pool.sequences.reserve(1, 130).ok());
  pool.sequences.roll_back(1);
  REQUIRE(pool.append(1, text).ok());
  CHECK(pool.match(2, text, 3) == 128);
  REQUIRE(pool.sequences.reserve(2, 140).ok());
  pool.sequences.roll_back(2);
  CHECK(pool.sequences.length(2) == 128);
}

TEST_CASE("prefix: the host evicts as many as it asks for, and clears one tenant or all") {
  Pool pool(16);
  pool.run(1, counting(0, 130), 1);
  pool.run(2, counting(0, 130), 2);
  CHECK(pool.sequences.evict(1) == 0);  // all are held
  pool.sequences.free(1);
  CHECK(pool.sequences.evict(1) == 1);
  CHECK(pool.sequences.n_cached() == 3);
  pool.sequences.clear_cache(2);
  CHECK(pool.sequences.n_cached() == 1);
  CHECK(pool.match(3, counting(0, 130), 2) == 0);
  REQUIRE(pool.append(2, counting(130, 62)).ok());  // goes on, and is private now
  CHECK(pool.sequences.n_cached() == 1);
  pool.sequences.clear_cache({});
  CHECK(pool.sequences.n_cached() == 0);
  pool.sequences.free(2);
  pool.sequences.free(3);
  CHECK(pool.n_free() == 16);
}

TEST_CASE("prefix: a match needs an empty sequence and a slot, and counts what it was asked") {
  Pool pool(16, 2);
  const auto text = counting(0, 130);
  pool.run(1, text);
  CHECK(pool.sequences.match(1, text, 0).status().code() == mm2::Code::invalid_argument);
  CHECK(pool.match(2, counting(3, 10)) == 0);
  CHECK(pool.match(2, text) == 128);  // again, before any step
  CHECK(pool.sequences.match(3, text, 0).status().code() == mm2::Code::kv_exhausted);
  const mm2::PrefixCounters& counters = pool.sequences.prefix_counters();
  CHECK(counters.queries == 3);
  CHECK(counters.hits == 1);
  CHECK(counters.queried_tokens == 270);
  CHECK(counters.matched_tokens == 128);
  pool.sequences.free(1);
  pool.sequences.free(2);
  CHECK(pool.sequences.n_seqs() == 0);
}
