// What sequences share with those that were there before them.
#include <algorithm>

#include "kv/sequences.h"

namespace mm2 {

std::span<const int32_t> Sequences::tokens_of(int32_t block) const {
  const auto size = static_cast<size_t>(layout_.block_size);
  return std::span(tokens_).subspan(static_cast<size_t>(block) * size, size);
}

void Sequences::write_tokens(const Slot& slot, int32_t position, std::span<const int32_t> tokens) {
  const int32_t size = layout_.block_size;
  for (const int32_t token : tokens) {
    const auto block = static_cast<size_t>(slot.blocks[static_cast<size_t>(position / size)]);
    tokens_[block * static_cast<size_t>(size) + static_cast<size_t>(position % size)] = token;
    ++position;
  }
}

void Sequences::read_tokens(int32_t seq_id, std::span<int32_t> to) const {
  const auto size = static_cast<size_t>(layout_.block_size);
  const std::span<const int32_t> blocks = this->blocks(seq_id);
  for (size_t at = 0; at < to.size(); at += size) {
    const auto tokens = tokens_of(blocks[at / size]);
    std::ranges::copy(tokens.first(std::min(size, to.size() - at)),
                      to.begin() + static_cast<ptrdiff_t>(at));
  }
}

// A parent is always released after its children, since every sequence that holds a block holds those
// before it and gives them back from the end. So the oldest idle block has no cached child, and
// nothing that is cached ever becomes impossible to reach.
int64_t Sequences::evict(int64_t n_blocks) {
  int64_t n = 0;
  for (; n < n_blocks && pool_.n_idle() != 0; ++n) forget(pool_.oldest_idle());
  prefix_counters_.evicted_blocks += static_cast<uint64_t>(n);
  return n;
}

void Sequences::forget(int32_t block) {
  cache_->forget(block);
  pool_.drop(block);
}

void Sequences::clear_cache(std::optional<uint64_t> salt) {
  if (!cache_) return;
  for (Slot& slot : slots_) {
    if (salt && slot.salt != *salt) continue;
    slot.is_cached = false;
    slot.n_cached = 0;
  }
  for (int32_t block = 0; block < pool_.n_blocks(); ++block) {
    if (cache_->holds(block) && (!salt || cache_->salt_of(block) == *salt)) forget(block);
  }
}

Result<int32_t> Sequences::match(int32_t seq_id, std::span<const int32_t> tokens, uint64_t salt) {
  if (length(seq_id) != 0) {
    return error(Code::invalid_argument, "sequence ", seq_id, " holds ", length(seq_id),
                 " tokens; it must be empty to begin with a cached prefix");
  }
  if (!cache_) return 0;
  Slot* slot = find(seq_id);  // begun before, and never continued
  if (slot == nullptr) slot = add(seq_id);
  if (slot == nullptr) {
    return error(Code::kv_exhausted, "sequence ", seq_id, " is new and all ", max_seqs(),
                 " sequences (max_seqs) are in use");
  }
  slot->begun = slot->is_cached = true;
  slot->salt = salt;
  const auto size = static_cast<size_t>(layout_.block_size);
  for (size_t at = 0; at + size < tokens.size(); at += size) {
    const int32_t before = slot->blocks.empty() ? -1 : slot->blocks.back();
    const int32_t block = cache_->find(cache_->key(before, salt, tokens.subspan(at, size)));
    if (block < 0) break;
    pool_.share(block);
    slot->blocks.push_back(block);
  }
  slot->n_cached = static_cast<int32_t>(slot->blocks.size());
  slot->length = slot->n_cached * layout_.block_size;
  ++prefix_counters_.queries;
  prefix_counters_.hits += slot->length != 0 ? 1 : 0;
  prefix_counters_.queried_tokens += tokens.size();
  prefix_counters_.matched_tokens += static_cast<uint64_t>(slot->length);
  return slot->length;
}

// A block that is cached already, computed by another sequence meanwhile, is given back for that one:
// the same tokens after the same tokens have the same bits.
void Sequences::cache_full_blocks(Slot& slot) {
  for (; slot.n_cached < slot.length / layout_.block_size; ++slot.n_cached) {
    const auto i = static_cast<size_t>(slot.n_cached);
    const int32_t block = slot.blocks[i];
    const int32_t before = i == 0 ? -1 : slot.blocks[i - 1];
    const PrefixCache::Key key = cache_->key(before, slot.salt, tokens_of(block));
    const int32_t cached = cache_->find(key);
    if (cached < 0) {
      cache_->add(block, key);
      pool_.keep(block);
    } else {
      pool_.share(cached);
      slot.blocks[i] = cached;
      pool_.release(block);
      ++prefix_counters_.merged_blocks;
    }
  }
}

}  // namespace mm2
