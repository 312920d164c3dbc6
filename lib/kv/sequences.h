// The sequences of an engine: their lengths and block tables over one pool of KV blocks.
//
// Growing is a transaction: reserve() for each row of a step, then commit() or roll_back() for all
// of them. Between the two the lengths are the old ones, so that a step that fails leaves nothing
// behind. Nothing here allocates after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "kv/block_pool.h"

namespace mm2 {

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
};

class Sequences {
 public:
  Sequences(const KvLayout& layout, int32_t max_seqs);

  const KvLayout& layout() const { return layout_; }
  const BlockPool& pool() const { return pool_; }
  int32_t max_seqs() const { return static_cast<int32_t>(slots_.size()); }
  int32_t n_seqs() const { return static_cast<int32_t>(by_id_.size()); }

  /// Tokens whose keys and values are kept; 0 for a name that was never used.
  int32_t length(int32_t seq_id) const;

  /// Blocks for the sequence to hold `length` tokens, above its present length. A tail block that
  /// another sequence shares is copied first. kv_exhausted when blocks or sequence slots run out,
  /// and then this sequence is as before. One reservation a sequence at a time.
  Status reserve(int32_t seq_id, int32_t length);
  /// The block table of a sequence, its reservation included; valid until the sequence is next
  /// changed.
  std::span<const int32_t> blocks(int32_t seq_id) const;
  /// The reserved tokens now count.
  void commit(int32_t seq_id);
  /// As before reserve().
  void roll_back(int32_t seq_id);

  /// `to`, which must be empty, starts with the first `length` tokens of `from`. No keys or values
  /// are copied.
  Status fork(int32_t from, int32_t to, int32_t length);
  /// Keeps the first `length` tokens.
  Status truncate(int32_t seq_id, int32_t length);
  /// Forgets the sequence; a name that was never used is fine.
  void free(int32_t seq_id);

 private:
  struct Slot {
    int32_t length = 0;
    int32_t reserved_length = -1;  // -1 = no reservation
    int32_t blocks_before = 0;     // size of `blocks` before the reservation
    int32_t shared_tail = -1;      // block that the reservation replaced by a copy, or -1
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
  Status copy_shared_tail(Slot& slot);
  void copy_block(int32_t from, int32_t to);
  static void undo(BlockPool& pool, Slot& slot);
  int32_t blocks_for(int32_t length) const;

  KvLayout layout_;
  BlockPool pool_;
  std::vector<Slot> slots_;
  std::vector<int32_t> free_slots_;
  std::vector<Name> by_id_;  // sorted by seq_id
};

}  // namespace mm2
