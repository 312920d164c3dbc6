// Which blocks of a KV pool are free, and how many sequences hold each of the others. Knows nothing
// of what is inside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mm2 {

class BlockPool {
 public:
  /// All blocks free. Memory for every later call is taken here.
  explicit BlockPool(int32_t n_blocks);

  int32_t n_blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t n_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t references(int32_t block) const { return references_[static_cast<size_t>(block)]; }

  /// A free block with one reference, or -1.
  int32_t take();
  /// One more holder of a block that is in use.
  void share(int32_t block);
  /// One holder less; the last one frees it.
  void release(int32_t block);

 private:
  std::vector<int32_t> references_;  // [n_blocks]
  std::vector<int32_t> free_;        // last one is taken first
};

}  // namespace mm2
