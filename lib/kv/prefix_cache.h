// Which full KV blocks hold the keys and values of which beginnings of texts.
//
// A block is found by a keyed hash, chained over the blocks before it. That a block is the right one
// is never left to the hash: its own tokens are compared, and instead of those before it the identity
// of the cached block that holds them, which was compared in its turn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/blake2b.h"

namespace mm2 {

using PrefixSecret = std::array<std::byte, 32>;

/// The hash of a block: of the secret, the hash of the block before it, the salt, its tokens.
using BlockHash = Digest (*)(const PrefixSecret& secret, const Digest& before, uint64_t salt,
                             std::span<const int32_t> tokens);

/// Keyed BLAKE2b.
Digest hash_block(const PrefixSecret& secret, const Digest& before, uint64_t salt,
                  std::span<const int32_t> tokens);

class PrefixCache {
 public:
  /// What a block holds.
  struct Key {
    Digest hash;
    uint64_t parent;                  // serial number of the cached block before it; 0 = none
    uint64_t salt;                    // of the tenant
    std::span<const int32_t> tokens;  // [block_size]
  };

  /// tokens: [n_blocks, block_size], those of each block, kept up to date by the owner.
  PrefixCache(int32_t n_blocks, std::span<const int32_t> tokens, const PrefixSecret& secret,
              BlockHash hash);
  /// Bytes taken at construction.
  static int64_t table_bytes(int64_t n_blocks);

  /// before: the cached block in front of this one, or -1 for the first of a text.
  Key key(int32_t before, uint64_t salt, std::span<const int32_t> tokens) const;
  /// The cached block that holds this, or -1.
  int32_t find(const Key& key) const;
  /// Caches a block that find() did not have and whose tokens are those of the key.
  void add(int32_t block, const Key& key);
  void forget(int32_t block);

  int32_t n_cached() const { return n_cached_; }
  bool holds(int32_t block) const { return entries_[static_cast<size_t>(block)].serial != 0; }
  uint64_t salt_of(int32_t block) const { return entries_[static_cast<size_t>(block)].salt; }

 private:
  struct Entry {
    Digest hash{};
    uint64_t serial = 0;  // never given twice; 0 = not cached
    uint64_t parent = 0;
    uint64_t salt = 0;
  };

  std::span<const int32_t> tokens_of(int32_t block) const;
  size_t home(const Digest& hash) const { return static_cast<size_t>(hash[0]) & mask_; }

  std::span<const int32_t> tokens_;
  size_t block_size_;
  PrefixSecret secret_;
  BlockHash hash_;
  std::vector<Entry> entries_;  // [n_blocks]
  std::vector<int32_t> slots_;  // open addressing: a block, or -1; at least half of them are -1
  size_t mask_;
  uint64_t last_serial_ = 0;
  int32_t n_cached_ = 0;
};

}  // namespace mm2
