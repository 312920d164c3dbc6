#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "absl/hash/hash.h"
#include "text/utf8.h"

namespace mm2 {
namespace {

// Searches that wait for memory together.
constexpr size_t kAtOnce = 64;

constexpr int kNoByte = -1;
constexpr char32_t kSpellingEnd = 0x144;

// Printable Latin-1 stands for itself; the 68 other bytes are U+0100 and up, in byte order.
constexpr std::array<int16_t, kSpellingEnd> make_byte_of_character() {
  std::array<int16_t, kSpellingEnd> table{};
  for (auto& byte : table) byte = kNoByte;
  int16_t next = 0x100;
  for (int16_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    table[printable ? byte : next++] = byte;
  }
  return table;
}
constexpr auto kByteOfCharacter = make_byte_of_character();

// Seeded per process, so that a file cannot be made of colliding tokens.
uint64_t hash_of(std::string_view bytes) {
  return absl::HashOf(absl::string_view(bytes.data(), bytes.size()));
}

}  // namespace

bool bytes_of_spelling(std::string_view spelling, std::string* bytes) {
  bytes->clear();
  return append_bytes_of_spelling(spelling, bytes);
}

bool append_bytes_of_spelling(std::string_view spelling, std::string* bytes) {
  const size_t before = bytes->size();
  bytes->append(spelling);  // never shorter than what it spells
  char* to = bytes->data() + before;
  for (size_t i = 0; i < spelling.size();) {
    const char32_t c = utf8::next(spelling.data(), &i);
    if (c >= kSpellingEnd || kByteOfCharacter[c] == kNoByte) {
      bytes->resize(before);
      return false;
    }
    *to++ = static_cast<char>(kByteOfCharacter[c]);
  }
  bytes->resize(static_cast<size_t>(to - bytes->data()));
  return true;
}

void Vocabulary::reserve(size_t n_tokens, size_t n_bytes) {
  *this = Vocabulary();
  text_.reserve(n_bytes);
  spans_.reserve(n_tokens);
  slots_.assign(std::bit_ceil(std::max<size_t>(16, n_tokens * 2)), Slot());
}

size_t Vocabulary::slot_of(std::string_view bytes, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    const Slot& s = slots_[slot];
    if (s.id < 0) return slot;
    if (s.tag == hash >> 32 && s.span.length == bytes.size() &&
        std::memcmp(text_.data() + s.span.begin, bytes.data(), bytes.size()) == 0)
      return slot;
  }
}

// At most half of the slots are taken.
void Vocabulary::make_room(size_t n_searchable) {
  if (n_searchable * 2 <= slots_.size()) return;
  const std::vector<Slot> old = std::move(slots_);
  slots_.assign(std::bit_ceil(std::max<size_t>(16, n_searchable * 2)), Slot());
  for (const Slot& slot : old)
    if (slot.id >= 0) slots_[slot_of(bytes(slot.id), hash_of(bytes(slot.id)))] = slot;
}

bool Vocabulary::add(int32_t id, std::string_view bytes, bool searchable) {
  if (has(id)) return false;
  const Span span = {static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(bytes.size())};
  if (searchable) {
    make_room(n_searchable_ + 1);
    const uint64_t hash = hash_of(bytes);
    Slot& slot = slots_[slot_of(bytes, hash)];
    if (slot.id >= 0) return false;
    slot = {static_cast<uint32_t>(hash >> 32), id, span};
    ++n_searchable_;
  }
  if (static_cast<size_t>(id) >= spans_.size()) spans_.resize(static_cast<size_t>(id) + 1);
  spans_[id] = span;
  text_.append(bytes);
  longest_ = std::max(longest_, bytes.size());
  ++n_tokens_;
  return true;
}

std::optional<int32_t> Vocabulary::index(std::span<const int32_t> ids) {
  make_room(n_searchable_ + ids.size());
  const size_t mask = slots_.size() - 1;
  uint64_t hashes[kAtOnce];
  while (!ids.empty()) {
    const size_t n = std::min(ids.size(), kAtOnce);
    for (size_t i = 0; i < n; ++i) {
      hashes[i] = hash_of(bytes(ids[i]));
      __builtin_prefetch(&slots_[hashes[i] & mask], 1);
    }
    for (size_t i = 0; i < n; ++i) {
      Slot& slot = slots_[slot_of(bytes(ids[i]), hashes[i])];
      if (slot.id >= 0) return ids[i];
      slot = {static_cast<uint32_t>(hashes[i] >> 32), ids[i], spans_[ids[i]]};
    }
    n_searchable_ += n;
    ids = ids.subspan(n);
  }
  return std::nullopt;
}

void Vocabulary::find(std::span<const std::string_view> bytes, int32_t* ids) const {
  if (slots_.empty()) {
    std::fill_n(ids, bytes.size(), kNone);
    return;
  }
  const size_t mask = slots_.size() - 1;
  uint64_t hashes[kAtOnce];
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), kAtOnce);
    for (size_t i = 0; i < n; ++i) {
      hashes[i] = hash_of(bytes[i]);
      __builtin_prefetch(&slots_[hashes[i] & mask]);
    }
    // Most are in their first slot.
    for (size_t i = 0; i < n; ++i)
      if (const Slot& slot = slots_[hashes[i] & mask]; slot.id >= 0)
        __builtin_prefetch(text_.data() + slot.span.begin);
    for (size_t i = 0; i < n; ++i) ids[i] = slots_[slot_of(bytes[i], hashes[i])].id;
    bytes = bytes.subspan(n);
    ids += n;
  }
}

std::optional<int32_t> Vocabulary::find(std::string_view bytes) const {
  if (slots_.empty()) return std::nullopt;
  const int32_t id = slots_[slot_of(bytes, hash_of(bytes))].id;
  if (id < 0) return std::nullopt;
  return id;
}

}  // namespace mm2
