#include "kernels/cuda/gemm/tiles.h"

#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <vector>

#include "kernels/cuda/gemm/tokens.h"
#include "support/packed_weights.h"

namespace mm2::kernels::cuda {

TEST_CASE("tiles: each number of a tile has two bytes of its own, and a record's are together") {
  for (const int32_t width : kWidths) {
    std::set<int64_t> seen;
    for (int32_t row = 0; row < width; ++row) {
      for (int64_t k = 0; k < 3 * kRecordCols; ++k) {
        const int64_t at = place_in_tile(width, row, k);
        REQUIRE(at / tile_record_bytes(width) == k / kRecordCols);
        REQUIRE(at % 2 == 0);
        seen.insert(at);
      }
    }
    CHECK(static_cast<int64_t>(seen.size()) == tile_bytes(width, 3) / 2);
    CHECK((*seen.begin() == 0 && *seen.rbegin() == tile_bytes(width, 3) - 2));
  }
}

TEST_CASE("tiles: items go over each unit, piece and tile once, and neighbours share a tile") {
  for (const int32_t n_units : {1, 3, 24}) {
    for (const int32_t n_pieces : {1, 4}) {
      std::set<std::vector<int32_t>> seen;
      int32_t tile = 0;
      for (int64_t i = 0; i < int64_t{n_units} * n_pieces * 5; ++i) {
        const Item item = item_at(i, n_units, n_pieces);
        REQUIRE((item.unit < n_units && item.piece < n_pieces && item.tile < 5));
        REQUIRE((item.tile == tile || item.tile == tile + 1));
        tile = item.tile;
        seen.insert({item.unit, item.piece, item.tile});
      }
      CHECK(static_cast<int64_t>(seen.size()) == int64_t{n_units} * n_pieces * 5);
    }
  }
}

TEST_CASE("tiles: widths grow with the tokens of a matrix, and scratch with them") {
  int32_t before = 0;
  for (int64_t n = 1; n < 3000; ++n) {
    const int32_t width = width_for(n, 8);
    REQUIRE(width >= before);
    before = width;
    // Whatever the routing: no matrix fills more tiles than it has tokens.
    REQUIRE(most_tiles(n, 8, width) * width >= n);
    REQUIRE(most_tiles(n, 8, width) <= n);
  }
  CHECK(before == kMostWidth);
  CHECK(width_for(128 * 8, 192) == 16);  // 128 tokens of a model of 192 experts
  CHECK(width_for(8192 * 8, 192) == 128);
}

TEST_CASE("tiles: every format and width leaves room for two stages at least") {
  for (const support::WeightCase& c : support::kWeightCases) {
    for (const int32_t width : kWidths) {
      const GemmShared s = gemm_shared(width, layout_of(c.format, 64, 128).record_bytes);
      CHECK(s.n_stages >= 2);
      CHECK(s.bytes <= 227 << 10);
      CHECK(s.stage_bytes % kSwizzleBytes == 0);
      CHECK(s.barriers + 2 * s.n_stages * 8 <= s.bytes);
    }
  }
  // INT4 at full width: three stages, about 120 KB on their way.
  CHECK(gemm_shared(128, 4224).n_stages == 3);
}

TEST_CASE("tiles: pairs are sorted by expert, each once, in their order") {
  std::mt19937 random(3);
  for (const int32_t n_experts : {1, 6, 300}) {
    for (const int32_t n_pairs : {1, 50, 1100}) {
      for (const int32_t width : {16, 64}) {
        std::vector<int32_t> ids(static_cast<size_t>(n_pairs));
        // Half of the experts get nothing.
        for (int32_t& id : ids)
          id = static_cast<int32_t>(random() % static_cast<uint32_t>(n_experts)) / 2 * 2;
        const int64_t tiles = most_tiles(n_pairs, n_experts, width);
        std::vector<int32_t> counts(static_cast<size_t>(n_experts), -9),
            expert(static_cast<size_t>(tiles), -9);
        std::vector<int32_t> slots(static_cast<size_t>(tiles * width), -9);
        int32_t n_tiles = -1;
        REQUIRE(sort_pairs(ids.data(), n_pairs, n_experts, width,
                           {counts.data(), &n_tiles, expert.data(), slots.data()},
                           nullptr) == cudaSuccess);
        REQUIRE(n_tiles >= 1);
        REQUIRE(n_tiles <= tiles);
        std::set<int32_t> seen;
        for (int32_t t = 0; t < n_tiles; ++t) {
          const auto at = static_cast<size_t>(t);
          REQUIRE((t == 0 || expert[at] >= expert[at - 1]));
          int32_t last = t > 0 && expert[at] == expert[at - 1]
                             ? slots[at * static_cast<size_t>(width) - 1]
                             : -1;
          bool ends = t > 0 && expert[at] == expert[at - 1] && last < 0;
          REQUIRE_FALSE(ends);  // only an expert's last tile has rows of nobody
          for (int32_t i = 0; i < width; ++i) {
            const int32_t slot = slots[at * static_cast<size_t>(width) + static_cast<size_t>(i)];
            REQUIRE(slot >= -1);
            if (slot < 0) {
              ends = true;
              continue;
            }
            REQUIRE_FALSE(ends);
            REQUIRE(slot > last);
            REQUIRE(ids[static_cast<size_t>(slot)] == expert[at]);
            last = slot;
            seen.insert(slot);
          }
        }
        CHECK(seen.size() == static_cast<size_t>(n_pairs));
      }
    }
  }
}

}  // namespace mm2::kernels::cuda
