// Which blocks of a KV pool are free, how many sequences hold each of the others, and which ones stay
// when nobody holds them any more. Knows nothing of what is inside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mm2 {

class BlockPool {
 public:
  /// All blocks free. Memory for every later call is taken here.
  explicit BlockPool(int32_t n_blocks);
  /// That memory, in bytes.
  static int64_t table_bytes(int64_t n_blocks) { return n_blocks * 17 + 8; }

  int32_t n_blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t n_free() const { return static_cast<int32_t>(free_.size()); }
  /// Kept, and held by nobody.
  int32_t n_idle() const { return n_idle_; }
  /// Blocks that a step can have: free ones, and idle ones once they are dropped.
  int32_t n_available() const { return n_free() + n_idle_; }
  int32_t references(int32_t block) const { return references_[static_cast<size_t>(block)]; }
  bool kept(int32_t block) const { return kept_[static_cast<size_t>(block)] != 0; }

  /// A free block with one reference, or -1.
  int32_t take();
  /// One more holder of a block that is in use or idle.
  void share(int32_t block);
  /// One holder less; the last one frees it, or leaves it idle when it is kept.
  void release(int32_t block);

  /// A block in use that shall become idle and not free.
  void keep(int32_t block);
  /// Not kept any more; an idle block becomes free.
  void drop(int32_t block);
  /// The block that has been idle longest, or -1.
  int32_t oldest_idle() const;

 private:
  // The idle ones are a ring of links through the block n_blocks, which is none: oldest first.
  struct Link {
    int32_t before, after;
  };

  std::vector<int32_t> references_;  // [n_blocks]
  std::vector<int32_t> free_;        // last one is taken first
  std::vector<uint8_t> kept_;        // [n_blocks]
  std::vector<Link> links_;          // [n_blocks + 1]
  int32_t n_idle_ = 0;
};

}  // namespace mm2
