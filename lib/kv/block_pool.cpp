#include "kv/block_pool.h"

namespace mm2 {

BlockPool::BlockPool(int32_t n_blocks)
    : references_(static_cast<size_t>(n_blocks), 0),
      kept_(static_cast<size_t>(n_blocks), 0),
      links_(static_cast<size_t>(n_blocks) + 1, Link{n_blocks, n_blocks}) {
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
  if (references_[static_cast<size_t>(block)]++ != 0) return;
  const Link link = links_[static_cast<size_t>(block)];
  links_[static_cast<size_t>(link.before)].after = link.after;
  links_[static_cast<size_t>(link.after)].before = link.before;
  --n_idle_;
}

void BlockPool::release(int32_t block) {
  if (--references_[static_cast<size_t>(block)] != 0) return;
  if (!kept(block)) {
    free_.push_back(block);
    return;
  }
  Link& none = links_.back();
  links_[static_cast<size_t>(block)] = {none.before, n_blocks()};
  links_[static_cast<size_t>(none.before)].after = block;
  none.before = block;
  ++n_idle_;
}

void BlockPool::keep(int32_t block) {
  kept_[static_cast<size_t>(block)] = 1;
}

void BlockPool::drop(int32_t block) {
  kept_[static_cast<size_t>(block)] = 0;
  if (references(block) != 0) return;
  share(block);  // out of the ring
  release(block);
}

int32_t BlockPool::oldest_idle() const {
  return n_idle_ == 0 ? -1 : links_.back().after;
}

}  // namespace mm2
