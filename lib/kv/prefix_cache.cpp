#include "kv/prefix_cache.h"

#include <algorithm>
#include <bit>

namespace mm2 {
namespace {

// A power of two, at least twice the blocks: chains of neighbours stay short.
size_t slots_for(int64_t n_blocks) {
  return std::bit_ceil(static_cast<size_t>(n_blocks) * 2);
}

}  // namespace

Digest hash_block(const PrefixSecret& secret, const Digest& before, uint64_t salt,
                  std::span<const int32_t> tokens) {
  Blake2b hash(secret);
  hash.add(before.data(), sizeof before);
  hash.add(&salt, sizeof salt);
  hash.add(tokens.data(), tokens.size_bytes());
  return hash.finish();
}

PrefixCache::PrefixCache(int32_t n_blocks, std::span<const int32_t> tokens,
                         const PrefixSecret& secret, BlockHash hash)
    : tokens_(tokens),
      block_size_(tokens.size() / static_cast<size_t>(n_blocks)),
      secret_(secret),
      hash_(hash),
      entries_(static_cast<size_t>(n_blocks)),
      slots_(slots_for(n_blocks), -1),
      mask_(slots_.size() - 1) {}

int64_t PrefixCache::table_bytes(int64_t n_blocks) {
  return n_blocks * static_cast<int64_t>(sizeof(Entry)) +
         static_cast<int64_t>(slots_for(n_blocks) * sizeof(int32_t));
}

std::span<const int32_t> PrefixCache::tokens_of(int32_t block) const {
  return tokens_.subspan(static_cast<size_t>(block) * block_size_, block_size_);
}

PrefixCache::Key PrefixCache::key(int32_t before, uint64_t salt,
                                  std::span<const int32_t> tokens) const {
  const Entry parent = before < 0 ? Entry{} : entries_[static_cast<size_t>(before)];
  return {hash_(secret_, parent.hash, salt, tokens), parent.serial, salt, tokens};
}

int32_t PrefixCache::find(const Key& key) const {
  for (size_t at = home(key.hash); slots_[at] >= 0; at = (at + 1) & mask_) {
    const int32_t block = slots_[at];
    const Entry& entry = entries_[static_cast<size_t>(block)];
    if (entry.hash == key.hash && entry.parent == key.parent && entry.salt == key.salt &&
        std::ranges::equal(tokens_of(block), key.tokens)) {
      return block;
    }
  }
  return -1;
}

void PrefixCache::add(int32_t block, const Key& key) {
  entries_[static_cast<size_t>(block)] = {key.hash, ++last_serial_, key.parent, key.salt};
  size_t at = home(key.hash);
  while (slots_[at] >= 0) at = (at + 1) & mask_;
  slots_[at] = block;
  ++n_cached_;
}

void PrefixCache::forget(int32_t block) {
  Entry& entry = entries_[static_cast<size_t>(block)];
  size_t hole = home(entry.hash);
  while (slots_[hole] != block) hole = (hole + 1) & mask_;
  // Whoever was put behind the hole only because others were in the way moves up.
  for (size_t at = (hole + 1) & mask_; slots_[at] >= 0; at = (at + 1) & mask_) {
    const size_t wanted = home(entries_[static_cast<size_t>(slots_[at])].hash);
    if (((at - wanted) & mask_) < ((at - hole) & mask_)) continue;
    slots_[hole] = slots_[at];
    hole = at;
  }
  slots_[hole] = -1;
  entry = {};
  --n_cached_;
}

}  // namespace mm2
