#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <iterator>

#include "absl/hash/hash.h"

namespace mm2 {
namespace {

// Below this a scan over all pairs is faster than a queue.
constexpr size_t kShortPiece = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

template <typename Word>
uint64_t word_at(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// The bytes of a piece of 2 to 16 bytes as two words, which overlap where it is shorter: together
// with the length they say what it is.
BpeScratch::Known key_of(std::string_view piece) {
  BpeScratch::Known key;
  const size_t n = piece.size();
  const char *begin = piece.data(), *end = begin + n;
  key.length = static_cast<uint8_t>(n);
  if (n >= 8) {
    key.head = word_at<uint64_t>(begin);
    key.tail = word_at<uint64_t>(end - 8);
  } else if (n >= 4) {
    key.head = word_at<uint32_t>(begin);
    key.tail = word_at<uint32_t>(end - 4);
  } else {
    key.head = word_at<uint16_t>(begin);
    key.tail = word_at<uint16_t>(end - 2);
  }
  return key;
}

size_t place_of(const BpeScratch::Known& key) {
  uint64_t h = (key.head ^ key.length) * 0x9E3779B97F4A7C15u;
  h = (h ^ h >> 29 ^ key.tail) * 0xD6E8FEB86659FD93u;
  return h >> (64 - std::countr_zero(BpeScratch::kKnown));
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

size_t Bpe::first_slot_of(uint64_t pair) const {
  uint64_t h = (pair ^ seed_) * 0x9E3779B97F4A7C15u;
  h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
  return h >> shift_;
}

size_t Bpe::slot_of(uint64_t pair) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = first_slot_of(pair);
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

void Bpe::prefetch(int32_t left, int32_t right) const {
  if (!slots_.empty()) __builtin_prefetch(&slots_[first_slot_of(pair_of(left, right))], 1);
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
    return;
  }
  if (piece.size() > 16 || scratch->known.empty()) return merge(piece, scratch, ids);
  BpeScratch::Known key = key_of(piece);
  BpeScratch::Known& known = scratch->known[place_of(key)];
  if (known.head == key.head && known.tail == key.tail && known.length == key.length) {
    ids->insert(ids->end(), known.ids, known.ids + known.n_ids);
    return;
  }
  const size_t before = ids->size();
  merge(piece, scratch, ids);
  const size_t n_ids = ids->size() - before;
  if (n_ids > std::size(key.ids)) return;
  key.n_ids = static_cast<uint8_t>(n_ids);
  std::copy_n(ids->begin() + static_cast<std::ptrdiff_t>(before), n_ids, key.ids);
  known = key;
}

void Bpe::merge(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const {
  if (piece.size() <= kShortPiece) {
    encode_short(piece, ids);
  } else {
    encode_long(piece, scratch, ids);
  }
}

void Bpe::encode_short(std::string_view piece, std::vector<int32_t>* out) const {
  // Of ids[i] and ids[i + 1]. Not initialised: most pieces need a few of these only.
  int32_t ids[kShortPiece], merged[kShortPiece];
  uint32_t ranks[kShortPiece];
  size_t n = piece.size();
  const auto look_up = [&](size_t i) {
    const Merge& merge = find(ids[i], ids[i + 1]);
    ranks[i] = merge.rank;
    merged[i] = merge.merged;
  };
  for (size_t i = 0; i < n; ++i) ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoRank) break;
    ids[best] = merged[best];
    for (size_t i = best + 1; i + 1 < n; ++i) {
      ids[i] = ids[i + 1];
      ranks[i - 1] = ranks[i];
      merged[i - 1] = merged[i];
    }
    --n;
    if (best + 1 < n) look_up(best);
    if (best > 0) look_up(best - 1);
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
