#include "kv/sequences.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace mm2 {

Sequences::Sequences(const KvLayout& layout, int32_t max_seqs, std::optional<PrefixOptions> prefix)
    : layout_(layout),
      pool_(layout.n_blocks),
      tokens_(static_cast<size_t>(layout.n_blocks) * static_cast<size_t>(layout.block_size), 0),
      slots_(static_cast<size_t>(max_seqs)) {
  if (prefix) cache_.emplace(layout.n_blocks, tokens_, prefix->secret, prefix->hash);
  const int32_t longest = std::min(layout.n_blocks, blocks_for(layout.max_positions));
  for (Slot& slot : slots_) slot.blocks.reserve(static_cast<size_t>(longest));
  free_slots_.reserve(slots_.size());
  for (int32_t i = max_seqs - 1; i >= 0; --i) free_slots_.push_back(i);
  by_id_.reserve(slots_.size());
}

int64_t Sequences::table_bytes(int64_t n_blocks, int64_t block_size, int64_t max_seqs,
                               int64_t max_positions, bool prefix) {
  const int64_t longest = std::min(n_blocks, ceil_div(max_positions, block_size));
  return BlockPool::table_bytes(n_blocks) + n_blocks * block_size * 4 +
         (prefix ? PrefixCache::table_bytes(n_blocks) : 0) +
         max_seqs * (longest * 4 + static_cast<int64_t>(sizeof(Slot) + sizeof(Name) + 4));
}

int32_t Sequences::blocks_for(int32_t length) const {
  return length / layout_.block_size + (length % layout_.block_size != 0 ? 1 : 0);
}

Sequences::Slot* Sequences::find(int32_t seq_id) {
  const auto at = std::ranges::lower_bound(by_id_, seq_id, {}, &Name::seq_id);
  return at != by_id_.end() && at->seq_id == seq_id ? &slots_[static_cast<size_t>(at->slot)]
                                                    : nullptr;
}

const Sequences::Slot* Sequences::find(int32_t seq_id) const {
  return const_cast<Sequences*>(this)->find(seq_id);
}

Sequences::Slot* Sequences::add(int32_t seq_id) {
  if (free_slots_.empty()) return nullptr;
  const int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  by_id_.insert(std::ranges::lower_bound(by_id_, seq_id, {}, &Name::seq_id), Name{seq_id, slot});
  return &slots_[static_cast<size_t>(slot)];
}

void Sequences::remove(int32_t seq_id) {
  const auto at = std::ranges::lower_bound(by_id_, seq_id, {}, &Name::seq_id);
  Slot& slot = slots_[static_cast<size_t>(at->slot)];
  slot.begun = slot.is_cached = false;
  slot.n_cached = 0;
  free_slots_.push_back(at->slot);
  by_id_.erase(at);
}

int32_t Sequences::length(int32_t seq_id) const {
  const Slot* slot = find(seq_id);
  return slot == nullptr ? 0 : slot->length;
}

std::span<const int32_t> Sequences::blocks(int32_t seq_id) const {
  const Slot* slot = find(seq_id);
  return slot == nullptr ? std::span<const int32_t>{} : std::span<const int32_t>(slot->blocks);
}

Status Sequences::copy_block(int32_t from, int32_t to) {
  const auto size = static_cast<size_t>(layout_.block_size);
  std::ranges::copy(tokens_of(from), tokens_.begin() + static_cast<ptrdiff_t>(to * size));
  if (layout_.copier.copy != nullptr) return layout_.copier.copy(layout_.copier.self, from, to);
  for (int32_t layer = 0; layer < layout_.n_layers; ++layer) {
    std::byte* base = layout_.data + layer * layout_.layer_stride;
    std::memcpy(base + to * layout_.block_bytes, base + from * layout_.block_bytes,
                static_cast<size_t>(layout_.block_bytes));
  }
  return {};
}

int32_t Sequences::take() {
  if (pool_.n_free() == 0 && pool_.n_idle() != 0) evict(1);
  return pool_.take();
}

// Blocks for a reservation, and a copy of the started block where somebody else needs it as it is.
Status Sequences::grow(int32_t seq_id, Slot& slot, int32_t length) {
  const int32_t missing = blocks_for(length) - slot.blocks_before;
  const bool is_started = slot.length % layout_.block_size != 0;
  const int32_t tail = is_started ? slot.blocks.back() : -1;
  const bool is_shared = is_started && pool_.references(tail) > 1;
  const int32_t available = pool_.n_available();
  if (missing + (is_shared ? 1 : 0) > available) {
    return error(Code::kv_exhausted, "sequence ", seq_id, " needs ", missing, " more KV blocks of ",
                 layout_.block_size, " tokens to hold ", length, " tokens",
                 is_shared ? " and one to copy a shared block" : "", "; ", available, " of ",
                 pool_.n_blocks(), " are free");
  }
  if (is_started && !is_shared && pool_.kept(tail) && missing == available) {
    forget(tail);  // a copy would keep it cached, at the price of the step
  } else if (is_shared || (is_started && pool_.kept(tail))) {
    slot.blocks.back() = take();
    slot.shared_tail = tail;  // its reference is dropped at commit
    MM2_RETURN_IF_ERROR(copy_block(tail, slot.blocks.back()));
  }
  for (int32_t i = 0; i < missing; ++i) slot.blocks.push_back(take());
  return {};
}

Status Sequences::reserve(int32_t seq_id, int32_t length) {
  if (length > layout_.max_positions) {
    return error(Code::invalid_argument, "sequence ", seq_id, " would hold ", length,
                 " tokens, the model has ", layout_.max_positions, " positions");
  }
  Slot* slot = find(seq_id);
  const bool is_new = slot == nullptr;
  if (is_new) slot = add(seq_id);
  if (slot == nullptr) {
    return error(Code::kv_exhausted, "sequence ", seq_id, " is new and all ", max_seqs(),
                 " sequences (max_seqs) are in use");
  }
  slot->blocks_before = static_cast<int32_t>(slot->blocks.size());
  slot->reserved_length = length;
  const Status status = grow(seq_id, *slot, length);
  if (!status.ok()) roll_back(seq_id);
  return status;
}

void Sequences::commit(int32_t seq_id, std::span<const int32_t> tokens) {
  Slot* slot = find(seq_id);
  if (slot == nullptr || slot->reserved_length < 0) return;
  write_tokens(*slot, slot->length, tokens);
  if (slot->shared_tail >= 0) pool_.release(slot->shared_tail);
  slot->length = slot->reserved_length;
  slot->shared_tail = -1;
  slot->reserved_length = -1;
  if (slot->is_cached) cache_full_blocks(*slot);
}

void Sequences::undo(Slot& slot) {
  while (static_cast<int32_t>(slot.blocks.size()) > slot.blocks_before) {
    pool_.release(slot.blocks.back());
    slot.blocks.pop_back();
  }
  if (slot.shared_tail >= 0) {
    pool_.release(slot.blocks.back());
    slot.blocks.back() = slot.shared_tail;
  }
  slot.shared_tail = -1;
  slot.reserved_length = -1;
}

void Sequences::roll_back(int32_t seq_id) {
  Slot* slot = find(seq_id);
  if (slot == nullptr || slot->reserved_length < 0) return;
  undo(*slot);
  if (slot->length == 0 && !slot->begun) remove(seq_id);
}

Status Sequences::fork(int32_t from, int32_t to, int32_t length) {
  const Slot* source = find(from);
  const int32_t available = source == nullptr ? 0 : source->length;
  if (length < 0 || length > available) {
    return error(Code::invalid_argument, "fork of ", length, " tokens from sequence ", from,
                 ", which holds ", available);
  }
  if (from == to || this->length(to) != 0) {
    return error(Code::invalid_argument, "fork into sequence ", to, ", which holds ",
                 this->length(to), " tokens; it must be empty");
  }
  if (length == 0) return {};
  Slot* target = find(to);  // begun, and empty
  if (target == nullptr) target = add(to);
  if (target == nullptr) {
    return error(Code::kv_exhausted, "fork into sequence ", to, ": all ", max_seqs(),
                 " sequences (max_seqs) are in use");
  }
  for (int32_t i = 0; i < blocks_for(length); ++i) {
    const int32_t block = source->blocks[static_cast<size_t>(i)];
    pool_.share(block);
    target->blocks.push_back(block);
  }
  target->length = length;
  target->is_cached = source->is_cached;
  target->salt = source->salt;
  target->n_cached = std::min(source->n_cached, length / layout_.block_size);
  return {};
}

Status Sequences::truncate(int32_t seq_id, int32_t length) {
  Slot* slot = find(seq_id);
  const int32_t held = slot == nullptr ? 0 : slot->length;
  if (length < 0 || length > held) {
    return error(Code::invalid_argument, "truncation of sequence ", seq_id, " to ", length,
                 " tokens; it holds ", held);
  }
  if (slot == nullptr) return {};
  while (static_cast<int32_t>(slot->blocks.size()) > blocks_for(length)) {
    pool_.release(slot->blocks.back());
    slot->blocks.pop_back();
  }
  slot->length = length;
  slot->n_cached = std::min(slot->n_cached, length / layout_.block_size);
  if (length == 0) remove(seq_id);
  return {};
}

void Sequences::free(int32_t seq_id) {
  if (find(seq_id) != nullptr) (void)truncate(seq_id, 0);
}

}  // namespace mm2
