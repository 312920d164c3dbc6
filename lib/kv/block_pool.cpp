#include "kv/block_pool.h"

namespace mm2 {

BlockPool::BlockPool(int32_t n_blocks) : references_(static_cast<size_t>(n_blocks), 0) {
  free_.reserve(references_.size());
  for (int32_t block = n_blocks - 1; block >= 0; --block) free_.push_back(block);
}

int32_t BlockPool::take() {
  if (free_.empty()) return -1;
  const int32_t block = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockPool::share(int32_t block) {
  ++references_[static_cast<size_t>(block)];
}

void BlockPool::release(int32_t block) {
  if (--references_[static_cast<size_t>(block)] == 0) free_.push_back(block);
}

}  // namespace mm2
