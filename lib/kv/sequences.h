// The sequences of an engine: their lengths and block tables over one pool of KV blocks.
//
// Growing is a transaction: reserve() for each row of a step, then commit() or roll_back() for all
// of them. Between the two the lengths are the old ones, so that a step that fails leaves nothing
// behind. Nothing here allocates after construction.
//
// Full blocks of sequences that began with match() are cached: they outlive their sequences until
// somebody needs room, and no block that is cached is written to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "kv/block_pool.h"
#include "kv/prefix_cache.h"

namespace mm2 {

/// Copies a block of all layers where memory is not the host's.
struct BlockCopier {
  void* self = nullptr;
  Status (*copy)(void* self, int32_t from, int32_t to) = nullptr;
};

/// Where blocks lie in memory: layer l of block b is block_bytes bytes at
/// data + l * layer_stride + b * block_bytes.
struct KvLayout {
  std::byte* data = nullptr;
  int64_t layer_stride = 0;
  int64_t block_bytes = 0;
  int32_t n_layers = 0;
  int32_t n_blocks = 0;
  int32_t block_size = 0;     // tokens in a block
  int32_t max_positions = 0;  // longest sequence allowed
  BlockCopier copier{};       // instead of data
};

/// How prefixes are cached; without it nothing is.
struct PrefixOptions {
  PrefixSecret secret{};
  BlockHash hash = &hash_block;
};

struct PrefixCounters {
  uint64_t queries = 0, hits = 0;  // calls of match(), and those that found something
  uint64_t queried_tokens = 0, matched_tokens = 0;  // their tokens
  uint64_t merged_blocks = 0;   // computed, and given back because the same was cached by then
  uint64_t evicted_blocks = 0;  // idle ones that were dropped, for room or by the host
};

class Sequences {
 public:
  Sequences(const KvLayout& layout, int32_t max_seqs, std::optional<PrefixOptions> prefix = {});
  /// Bytes taken at construction.
  static int64_t table_bytes(int64_t n_blocks, int64_t block_size, int64_t max_seqs,
                             int64_t max_positions, bool prefix);

  const KvLayout& layout() const { return layout_; }
  const BlockPool& pool() const { return pool_; }
  int32_t max_seqs() const { return static_cast<int32_t>(slots_.size()); }
  int32_t n_seqs() const { return static_cast<int32_t>(by_id_.size()); }

  /// Tokens whose keys and values are kept; 0 for a name that was never used.
  int32_t length(int32_t seq_id) const;

  /// Blocks for the sequence to hold `length` tokens, above its present length. A tail block that
  /// another sequence shares is copied first. kv_exhausted when blocks or sequence slots run out, or
  /// what the copier says, and then this sequence is as before. One reservation a sequence at a time.
  Status reserve(int32_t seq_id, int32_t length);
  /// The block table of a sequence, its reservation included; valid until the sequence is next
  /// changed.
  std::span<const int32_t> blocks(int32_t seq_id) const;
  /// The reserved tokens now count. tokens: exactly those.
  void commit(int32_t seq_id, std::span<const int32_t> tokens);
  /// As before reserve().
  void roll_back(int32_t seq_id);

  /// `to`, which must be empty, starts with the first `length` tokens of `from`. No keys or values
  /// are copied.
  Status fork(int32_t from, int32_t to, int32_t length);
  /// Keeps the first `length` tokens.
  Status truncate(int32_t seq_id, int32_t length);
  /// Forgets the sequence; a name that was never used is fine.
  void free(int32_t seq_id);
  /// Copies out the tokens of a sequence. to: [length].
  void read_tokens(int32_t seq_id, std::span<int32_t> to) const;

  /// Begins a sequence, which must be empty, with the cached blocks that hold the longest beginning
  /// of tokens under this salt, but never all of them: the last one's logits are wanted. The number
  /// of tokens it begins with, which may be 0; its full blocks will be cached. Without a cache: 0.
  Result<int32_t> match(int32_t seq_id, std::span<const int32_t> tokens, uint64_t salt);
  /// Frees up to n_blocks cached blocks that no sequence holds, those idle longest first. How many.
  int64_t evict(int64_t n_blocks);
  /// Forgets what is cached under a salt, or under all. Sequences go on, uncached.
  void clear_cache(std::optional<uint64_t> salt);
  int32_t n_cached() const { return cache_ ? cache_->n_cached() : 0; }
  const PrefixCounters& prefix_counters() const { return prefix_counters_; }

 private:
  struct Slot {
    int32_t length = 0;
    int32_t reserved_length = -1;  // -1 = no reservation
    int32_t blocks_before = 0;     // size of `blocks` before the reservation
    int32_t shared_tail = -1;      // block that the reservation replaced by a copy, or -1
    int32_t n_cached = 0;          // leading blocks that are cached
    bool begun = false;            // by match(): has a name even while it is empty
    bool is_cached = false;        // its blocks are cached, under this salt
    uint64_t salt = 0;
    std::vector<int32_t> blocks;
  };
  struct Name {
    int32_t seq_id, slot;
  };

  Slot* find(int32_t seq_id);
  const Slot* find(int32_t seq_id) const;
  /// A slot for a new name, or null when all are taken.
  Slot* add(int32_t seq_id);
  void remove(int32_t seq_id);
  Status grow(int32_t seq_id, Slot& slot, int32_t length);
  Status copy_block(int32_t from, int32_t to);
  void undo(Slot& slot);
  int32_t blocks_for(int32_t length) const;
  /// A block with one reference, for which a cached one may have to go; -1 when all are held.
  int32_t take();
  void forget(int32_t block);
  void write_tokens(const Slot& slot, int32_t position, std::span<const int32_t> tokens);
  std::span<const int32_t> tokens_of(int32_t block) const;
  void cache_full_blocks(Slot& slot);

  KvLayout layout_;
  BlockPool pool_;
  std::vector<int32_t> tokens_;  // [n_blocks, block_size]
  std::optional<PrefixCache> cache_;
  PrefixCounters prefix_counters_;
  std::vector<Slot> slots_;
  std::vector<int32_t> free_slots_;
  std::vector<Name> by_id_;  // sorted by seq_id
};

}  // namespace mm2
