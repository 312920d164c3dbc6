#include "kv/sequences.h"

#include <cstring>
#include <map>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

namespace {

constexpr int32_t kBlockSize = 64;
constexpr int32_t kLayers = 2;

// A pool whose "keys" are one byte a position and layer, so that copies can be seen.
struct Pool {
  Pool(int32_t n_blocks, int32_t max_seqs)
      : bytes(static_cast<size_t>(n_blocks * kBlockSize * kLayers)),
        sequences({.data = bytes.data(),
                   .layer_stride = int64_t{n_blocks} * kBlockSize,
                   .block_bytes = kBlockSize,
                   .n_layers = kLayers,
                   .n_blocks = n_blocks,
                   .block_size = kBlockSize,
                   .max_positions = 1000},
                  max_seqs) {}

  std::byte& at(int32_t seq_id, int32_t position, int32_t layer) {
    const int32_t block = sequences.blocks(seq_id)[static_cast<size_t>(position / kBlockSize)];
    const auto& layout = sequences.layout();
    return bytes[static_cast<size_t>(layer * layout.layer_stride + block * layout.block_bytes +
                                     position % kBlockSize)];
  }
  mm2::Status append(int32_t seq_id, int32_t n, uint8_t value) {
    const int32_t before = sequences.length(seq_id);
    MM2_RETURN_IF_ERROR(sequences.reserve(seq_id, before + n));
    for (int32_t p = before; p < before + n; ++p) {
      for (int32_t layer = 0; layer < kLayers; ++layer) at(seq_id, p, layer) = std::byte{value};
    }
    sequences.commit(seq_id, std::vector<int32_t>(static_cast<size_t>(n), value));
    return {};
  }

  std::vector<std::byte> bytes;
  mm2::Sequences sequences;
};

}  // namespace

TEST_CASE("kv: a sequence that was never used is empty and may be freed") {
  Pool pool(4, 2);
  CHECK(pool.sequences.length(7) == 0);
  pool.sequences.free(7);
  CHECK(pool.sequences.pool().n_free() == 4);
}

TEST_CASE("kv: a reservation that does not fit changes nothing and says how many blocks are free") {
  Pool pool(3, 4);
  REQUIRE(pool.append(1, 100, 1).ok());
  const mm2::Status status = pool.sequences.reserve(2, 65);
  CHECK(status.code() == mm2::Code::kv_exhausted);
  CHECK(status.message().find("1 of 3 are free") != std::string::npos);
  CHECK(pool.sequences.pool().n_free() == 1);
  CHECK(pool.sequences.n_seqs() == 1);
}

TEST_CASE("kv: a rolled back reservation leaves length, blocks and names as before") {
  Pool pool(4, 4);
  REQUIRE(pool.append(1, 10, 1).ok());
  REQUIRE(pool.sequences.reserve(1, 130).ok());
  REQUIRE(pool.sequences.reserve(2, 1).ok());
  pool.sequences.roll_back(1);
  pool.sequences.roll_back(2);
  CHECK(pool.sequences.length(1) == 10);
  CHECK(pool.sequences.blocks(1).size() == 1);
  CHECK(pool.sequences.n_seqs() == 1);
  CHECK(pool.sequences.pool().n_free() == 3);
}

TEST_CASE("kv: a fork shares blocks and diverges by copying only the shared tail") {
  Pool pool(6, 4);
  REQUIRE(pool.append(1, 100, 1).ok());
  REQUIRE(pool.sequences.fork(1, 2, 90).ok());
  CHECK(pool.sequences.pool().n_free() == 4);
  REQUIRE(pool.append(2, 5, 2).ok());
  CHECK(pool.sequences.pool().n_free() == 3);
  REQUIRE(pool.append(1, 5, 3).ok());
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    CHECK(pool.at(1, 95, layer) == std::byte{1});
    CHECK(pool.at(1, 102, layer) == std::byte{3});
    CHECK(pool.at(2, 89, layer) == std::byte{1});
    CHECK(pool.at(2, 92, layer) == std::byte{2});
  }
  CHECK(pool.sequences.blocks(1)[0] == pool.sequences.blocks(2)[0]);
  CHECK(pool.sequences.blocks(1)[1] != pool.sequences.blocks(2)[1]);
}

TEST_CASE("kv: a fork rolled back still shares its tail") {
  Pool pool(4, 4);
  REQUIRE(pool.append(1, 10, 1).ok());
  REQUIRE(pool.sequences.fork(1, 2, 10).ok());
  REQUIRE(pool.sequences.reserve(2, 20).ok());
  pool.sequences.roll_back(2);
  CHECK(pool.sequences.blocks(1)[0] == pool.sequences.blocks(2)[0]);
  CHECK(pool.sequences.pool().references(pool.sequences.blocks(1)[0]) == 2);
  CHECK(pool.sequences.pool().n_free() == 3);
}

TEST_CASE("kv: impossible requests are refused with their numbers") {
  Pool pool(32, 2);
  REQUIRE(pool.append(1, 10, 1).ok());
  CHECK(pool.sequences.fork(1, 2, 11).code() == mm2::Code::invalid_argument);
  CHECK(pool.sequences.fork(1, 1, 5).code() == mm2::Code::invalid_argument);
  CHECK(pool.sequences.truncate(1, 11).code() == mm2::Code::invalid_argument);
  CHECK(pool.sequences.truncate(1, -1).code() == mm2::Code::invalid_argument);
  CHECK(pool.sequences.reserve(1, 1001).code() == mm2::Code::invalid_argument);
  REQUIRE(pool.append(2, 1, 1).ok());
  const mm2::Status full = pool.sequences.reserve(3, 1);
  CHECK(full.code() == mm2::Code::kv_exhausted);
  CHECK(full.message().find("max_seqs") != std::string::npos);
}

TEST_CASE("kv: random use never loses a block and every sequence reads what it wrote") {
  std::mt19937 random(20261);
  Pool pool(24, 6);
  std::map<int32_t, std::vector<uint8_t>> written;  // what each sequence must read
  for (int step = 0; step < 20000; ++step) {
    const auto seq_id = static_cast<int32_t>(random() % 8);
    auto& mine = written[seq_id];
    const auto value = static_cast<uint8_t>(random());
    switch (random() % 5) {
      case 0:
      case 1: {
        const auto n = static_cast<int32_t>(1 + random() % 100);
        if (pool.append(seq_id, n, value).ok())
          mine.insert(mine.end(), static_cast<size_t>(n), value);
        break;
      }
      case 2: {
        const auto to = static_cast<int32_t>(random() % 8);
        const auto n = static_cast<int32_t>(random() % (mine.size() + 1));
        if (pool.sequences.fork(seq_id, to, n).ok()) written[to] = {mine.begin(), mine.begin() + n};
        break;
      }
      case 3: {
        const auto n = static_cast<int32_t>(random() % (mine.size() + 1));
        REQUIRE(pool.sequences.truncate(seq_id, n).ok());
        mine.resize(static_cast<size_t>(n));
        break;
      }
      default:
        if (pool.sequences.reserve(seq_id, pool.sequences.length(seq_id) + 70).ok()) {
          pool.sequences.roll_back(seq_id);
        }
    }
    REQUIRE(pool.sequences.length(seq_id) == static_cast<int32_t>(mine.size()));
    for (size_t p = 0; p < mine.size(); ++p) {
      REQUIRE(pool.at(seq_id, static_cast<int32_t>(p), 1) == std::byte{mine[p]});
    }
  }
  for (int32_t seq_id = 0; seq_id < 8; ++seq_id) pool.sequences.free(seq_id);
  CHECK(pool.sequences.pool().n_free() == 24);
  CHECK(pool.sequences.n_seqs() == 0);
}
