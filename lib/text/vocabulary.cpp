#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <bit>

#include "absl/hash/hash.h"
#include "text/utf8.h"

namespace mm2 {
namespace {

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

}  // namespace

bool bytes_of_spelling(std::string_view spelling, std::string* bytes) {
  bytes->clear();
  for (size_t i = 0; i < spelling.size();) {
    const char32_t c = utf8::next(spelling.data(), &i);
    if (c >= kSpellingEnd || kByteOfCharacter[c] == kNoByte) return false;
    bytes->push_back(static_cast<char>(kByteOfCharacter[c]));
  }
  return true;
}

void Vocabulary::reserve(size_t n_tokens, size_t n_bytes) {
  *this = Vocabulary();
  text_.reserve(n_bytes);
  spans_.reserve(n_tokens);
  slots_.assign(std::bit_ceil(std::max<size_t>(16, n_tokens * 2)), -1);
}

size_t Vocabulary::slot_of(std::string_view bytes) const {
  const size_t mask = slots_.size() - 1;
  // Seeded per process, so that a file cannot be made of colliding tokens.
  size_t slot = absl::HashOf(absl::string_view(bytes.data(), bytes.size())) & mask;
  while (slots_[slot] >= 0 && this->bytes(slots_[slot]) != bytes) slot = (slot + 1) & mask;
  return slot;
}

void Vocabulary::grow() {
  const std::vector<int32_t> old = std::move(slots_);
  slots_.assign(old.size() * 2, -1);
  for (const int32_t id : old)
    if (id >= 0) slots_[slot_of(bytes(id))] = id;
}

bool Vocabulary::add(int32_t id, std::string_view bytes, bool searchable) {
  if (slots_.empty()) slots_.assign(16, -1);
  if (has(id)) return false;
  if (searchable) {
    if ((n_searchable_ + 1) * 2 > slots_.size()) grow();
    const size_t slot = slot_of(bytes);
    if (slots_[slot] >= 0) return false;
    slots_[slot] = id;
    ++n_searchable_;
  }
  if (static_cast<size_t>(id) >= spans_.size()) spans_.resize(static_cast<size_t>(id) + 1);
  spans_[id] = {static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(bytes.size())};
  text_.append(bytes);
  longest_ = std::max(longest_, bytes.size());
  ++n_tokens_;
  return true;
}

std::optional<int32_t> Vocabulary::find(std::string_view bytes) const {
  if (slots_.empty()) return std::nullopt;
  const int32_t id = slots_[slot_of(bytes)];
  if (id < 0) return std::nullopt;
  return id;
}

}  // namespace mm2
