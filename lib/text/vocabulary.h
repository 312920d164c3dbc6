// The tokens of a vocabulary: id to bytes and back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2 {

/// Ids are below this; the family needs 200,064.
constexpr uint64_t kMaxTokenId = (uint64_t{1} << 22) - 1;

/// Text in which every byte is spelled as one printable character (the byte-level spelling of
/// GPT-2: U+0120 for the blank) back to bytes. False, and *bytes unspecified, if a character
/// of `spelling` stands for no byte.
bool bytes_of_spelling(std::string_view spelling, std::string* bytes);
/// The same, appended; *bytes is as before when it fails.
bool append_bytes_of_spelling(std::string_view spelling, std::string* bytes);

/// Tokens by id, with gaps, and ids by bytes. Immutable once built; any number of threads.
class Vocabulary {
 public:
  /// Forgets all and makes room for about `n_tokens` with `n_bytes` in total.
  void reserve(size_t n_tokens, size_t n_bytes);

  /// Adds a token. `searchable` tokens can be found by their bytes. False if the id is taken, or if
  /// the bytes are (for searchable ones): nothing is added then. id <= kMaxTokenId.
  bool add(int32_t id, std::string_view bytes, bool searchable);

  /// Makes tokens that were added as not searchable searchable, all at once: one by one each would
  /// wait for memory. The first of `ids` whose bytes are taken, if there is one: the vocabulary is
  /// of no use then.
  std::optional<int32_t> index(std::span<const int32_t> ids);

  bool has(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < spans_.size() && spans_[id].begin != kGap;
  }
  /// The bytes of a token that has() it.
  std::string_view bytes(int32_t id) const {
    return std::string_view(text_).substr(spans_[id].begin, spans_[id].length);
  }
  std::optional<int32_t> find(std::string_view bytes) const;
  /// Many at once, for the same reason: ids[i] becomes the id of bytes[i], or kNone.
  void find(std::span<const std::string_view> bytes, int32_t* ids) const;
  static constexpr int32_t kNone = -1;

  /// Number of ids that have a token, and the highest of them plus one.
  int32_t n_tokens() const { return n_tokens_; }
  int32_t id_end() const { return static_cast<int32_t>(spans_.size()); }
  size_t longest() const { return longest_; }

 private:
  static constexpr uint32_t kGap = UINT32_MAX;
  struct Span {
    uint32_t begin = kGap;
    uint32_t length = 0;
  };
  // Holds all that a search reads but the text itself: every read here is a cache miss.
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash: tells most tokens apart without reading them
    int32_t id = -1;   // -1 = free
    Span span;
  };
  // The slot where `bytes` are, or where they would be put.
  size_t slot_of(std::string_view bytes, uint64_t hash) const;
  void make_room(size_t n_searchable);

  std::string text_;
  std::vector<Span> spans_;  // [id_end]
  std::vector<Slot> slots_;  // open addressing, a power of two
  size_t n_searchable_ = 0;
  size_t longest_ = 0;
  int32_t n_tokens_ = 0;
};

}  // namespace mm2
