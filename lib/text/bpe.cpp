#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "absl/hash/hash.h"

namespace mm2 {
namespace {

// Below this a scan over all pairs is faster than a queue.
constexpr size_t kShortPiece = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

void Bpe::reserve(size_t n_merges) {
  *this = Bpe();
  const size_t n_slots = std::bit_ceil(std::max<size_t>(16, n_merges * 2));
  slots_.assign(n_slots, Merge());
  shift_ = 64 - std::countr_zero(n_slots);
  // abseil seeds its hashes per process: a file cannot be made of colliding pairs.
  seed_ = absl::HashOf(n_slots);
}

size_t Bpe::slot_of(uint64_t pair) const {
  uint64_t h = (pair ^ seed_) * 0x9E3779B97F4A7C15u;
  h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
  const size_t mask = slots_.size() - 1;
  size_t slot = h >> shift_;
  while (slots_[slot].pair != pair && slots_[slot].pair != kFree) slot = (slot + 1) & mask;
  return slot;
}

const Bpe::Merge& Bpe::find(int32_t left, int32_t right) const {
  return slots_[slot_of(pair_of(left, right))];  // a free slot has kNoRank
}

void Bpe::grow() {
  const std::vector<Merge> old = std::move(slots_);
  slots_.assign(old.size() * 2, Merge());
  --shift_;
  for (const Merge& merge : old)
    if (merge.pair != kFree) slots_[slot_of(merge.pair)] = merge;
}

void Bpe::add_merge(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
  if (slots_.empty()) reserve(0);
  if ((n_merges_ + 1) * 2 > slots_.size()) grow();
  const uint64_t pair = pair_of(left, right);
  Merge& slot = slots_[slot_of(pair)];
  if (slot.pair == kFree) ++n_merges_;
  slot = {pair, rank, merged};
}

void Bpe::encode(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const {
  if (piece.size() == 1) {
    ids->push_back(byte_ids_[static_cast<uint8_t>(piece[0])]);
  } else if (piece.size() <= kShortPiece) {
    encode_short(piece, ids);
  } else {
    encode_long(piece, scratch, ids);
  }
}

void Bpe::encode_short(std::string_view piece, std::vector<int32_t>* out) const {
  int32_t ids[kShortPiece];
  Merge merges[kShortPiece];  // merges[i]: of ids[i] and ids[i + 1]
  size_t n = piece.size();
  for (size_t i = 0; i < n; ++i) ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = find(ids[i], ids[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == kNoRank) break;
    ids[best] = merges[best].merged;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      ids[i] = ids[i + 1];
      merges[i - 1] = merges[i];
    }
    --n;
    if (best + 1 < n) merges[best] = find(ids[best], ids[best + 1]);
    if (best > 0) merges[best - 1] = find(ids[best - 1], ids[best]);
  }
  out->insert(out->end(), ids, ids + n);
}

void Bpe::encode_long(std::string_view piece, BpeScratch* scratch,
                      std::vector<int32_t>* out) const {
  constexpr int32_t kGone = -1;
  const auto n = static_cast<uint32_t>(piece.size());
  auto& symbols = scratch->symbols;
  auto& queue = scratch->queue;  // rank << 32 | position of the left symbol; a min-heap
  symbols.resize(n);
  queue.clear();
  for (uint32_t i = 0; i < n; ++i)
    symbols[i] = {byte_ids_[static_cast<uint8_t>(piece[i])], i - 1, i + 1};
  const auto rank_at = [&](uint32_t left) {
    const uint32_t right = symbols[left].next;
    return right < n ? find(symbols[left].id, symbols[right].id).rank : kNoRank;
  };
  for (uint32_t i = 0; i + 1 < n; ++i)
    if (const uint32_t rank = rank_at(i); rank != kNoRank)
      queue.push_back(uint64_t{rank} << 32 | i);
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  const auto offer = [&](uint32_t left) {
    const uint32_t rank = rank_at(left);
    if (rank == kNoRank) return;
    queue.push_back(uint64_t{rank} << 32 | left);
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };
  while (!queue.empty()) {
    const auto left = static_cast<uint32_t>(queue.front());
    const auto rank = static_cast<uint32_t>(queue.front() >> 32);
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.pop_back();
    // A rank belongs to one pair: another rank means that the pair of this entry is gone.
    if (symbols[left].id == kGone || rank_at(left) != rank) continue;
    const uint32_t right = symbols[left].next;
    symbols[left].id = find(symbols[left].id, symbols[right].id).merged;
    symbols[left].next = symbols[right].next;
    if (symbols[right].next < n) symbols[symbols[right].next].previous = left;
    symbols[right].id = kGone;
    if (left > 0) offer(symbols[left].previous);
    offer(left);
  }
  for (uint32_t i = 0; i < n; i = symbols[i].next) out->push_back(symbols[i].id);
}

}  // namespace mm2
