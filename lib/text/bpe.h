// Byte-pair encoding of one piece of text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mm2 {

/// Memory that encoding reuses from piece to piece; one per thread.
struct BpeScratch {
  struct Symbol {
    int32_t id;
    uint32_t previous;
    uint32_t next;
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> queue;

  /// What short pieces became, each in the one place that its bytes hash to: words come again and
  /// again. Empty = not used.
  struct Known {
    uint64_t head = 0, tail = 0;  // first and last bytes of the piece, see bpe.cpp
    uint8_t length = 0;           // 0 = nothing is known here
    uint8_t n_ids = 0;
    int32_t ids[3] = {};
  };
  static constexpr size_t kKnown = 2048;
  std::vector<Known> known;
  /// Worth its price for texts of more than about a thousand bytes.
  void remember_pieces() { known.resize(kKnown); }
};

/// The merges of a vocabulary and the ids of the single bytes. Immutable once built.
class Bpe {
 public:
  /// Forgets all and makes room for `n_merges`.
  void reserve(size_t n_merges);
  void set_byte(uint8_t byte, int32_t id) { byte_ids_[byte] = id; }
  /// Neighbours left, right become `merged`; lower ranks go first. A pair that is there already
  /// gets the new rank.
  void add_merge(int32_t left, int32_t right, uint32_t rank, int32_t merged);
  /// A merge of these will be added soon.
  void prefetch(int32_t left, int32_t right) const;
  size_t n_merges() const { return n_merges_; }

  /// Appends the ids of `piece`: while neighbours can be merged, the pair of lowest rank is, the
  /// leftmost first. O(n log n) for n bytes; at most 2^31 of them.
  void encode(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const;

 private:
  static constexpr uint64_t kFree = UINT64_MAX;
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct Merge {
    uint64_t pair = kFree;
    uint32_t rank = kNoRank;
    int32_t merged = 0;
  };
  const Merge& find(int32_t left, int32_t right) const;
  size_t first_slot_of(uint64_t pair) const;
  size_t slot_of(uint64_t pair) const;
  void grow();
  void merge(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const;
  void encode_short(std::string_view piece, std::vector<int32_t>* ids) const;
  void encode_long(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_ids_{};
  std::vector<Merge> slots_;  // open addressing, a power of two
  uint64_t seed_ = 0;
  int shift_ = 0;
  size_t n_merges_ = 0;
};

}  // namespace mm2
