// A hand-written matcher: each function below is one alternative of the pattern and says where a
// backtracking engine would end up.
#include "text/splitter.h"

#include <cstdint>

#include "text/unicode/tables.h"
#include "text/utf8.h"

namespace mm2 {

using namespace unicode;  // NOLINT: the flags of a character

const std::string_view kM2SplitPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

constexpr size_t kNoMatch = 0;  // a match is never empty and ends behind its beginning
constexpr uint8_t kNotSymbol = kSpace | kLetter | kNumber;

class Scanner {
 public:
  explicit Scanner(std::string_view text) : data_(text.data()), size_(text.size()) {}

  // Flags of the character at *position, which moves behind it.
  uint8_t take(size_t* position) const {
    const auto byte = static_cast<unsigned char>(data_[*position]);
    if (byte < 0x80) {
      *position += 1;
      return kFlagBlocks[kFlagStage1[0] * 256 + byte];
    }
    return flags(utf8::next(data_, position));
  }

  // End of the run of characters that have a bit of `mask`.
  size_t run(size_t from, uint8_t mask) const {
    while (from < size_) {
      size_t after = from;
      if ((take(&after) & mask) == 0) break;
      from = after;
    }
    return from;
  }

  size_t symbol_run(size_t from) const {
    while (from < size_) {
      size_t after = from;
      if ((take(&after) & kNotSymbol) != 0) break;
      from = after;
    }
    return from;
  }

  size_t word(size_t from, size_t* head_end) const;
  size_t contraction(size_t from) const;
  size_t spaces(size_t begin, size_t first_end) const;
  size_t piece(size_t begin) const;

 private:
  unsigned char lower(size_t position) const {
    const auto byte = static_cast<unsigned char>(data_[position]);
    return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
  }

  const char* data_;
  size_t size_;
};

// head* tail+ from `from`, kNoMatch if there is none. The head run ends at r. If a tail character
// stands at r, it is lower case and the tail goes on from there. Else the head gives characters
// back until one of them can be a tail (Lm, Lo, M): the match ends behind the last such character,
// since what follows it up to r is upper case. *head_end becomes r.
size_t Scanner::word(size_t from, size_t* head_end) const {
  size_t position = from, last_tail_end = kNoMatch;
  while (position < size_) {
    size_t after = position;
    const uint8_t f = take(&after);
    if ((f & kHead) == 0) {
      *head_end = position;
      return (f & kTail) != 0 ? run(after, kTail) : last_tail_end;
    }
    if ((f & kTail) != 0) last_tail_end = after;
    position = after;
  }
  *head_end = position;
  return last_tail_end;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)? ; U+017F folds to s.
size_t Scanner::contraction(size_t from) const {
  if (size_ - from < 2 || data_[from] != '\'') return from;
  switch (lower(from + 1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return from + 2;
    case 'r':
    case 'v':
      return size_ - from > 2 && lower(from + 2) == 'e' ? from + 3 : from;
    case 'l':
      return size_ - from > 2 && lower(from + 2) == 'l' ? from + 3 : from;
    case 0xC5:
      return static_cast<unsigned char>(data_[from + 2]) == 0xBF ? from + 3 : from;
    default:
      return from;
  }
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : up to the last line break of the run; without one, the whole run at
// the end of the text, all but its last character before something visible.
size_t Scanner::spaces(size_t begin, size_t first_end) const {
  size_t position = begin, last = begin, newline_end = kNoMatch;
  while (position < size_) {
    size_t after = position;
    const uint8_t f = take(&after);
    if ((f & kSpace) == 0) break;
    if ((f & kNewline) != 0) newline_end = after;
    last = position;
    position = after;
  }
  if (newline_end != kNoMatch) return newline_end;
  if (position == size_ || position == first_end) return position;
  return last;
}

size_t Scanner::piece(size_t begin) const {
  size_t after = begin;
  const uint8_t first = take(&after);
  const bool is_letter = (first & kLetter) != 0;
  size_t head_end = 0;
  if ((first & (kLetter | kNumber | kNewline)) == 0) {
    // The character is the optional prefix of a word.
    const size_t end = word(after, &head_end);
    if (end != kNoMatch) return contraction(end);
    // A mark that is no prefix is a word by itself: nothing behind it can be a tail, or the line
    // above had matched.
    if ((first & kTail) != 0) return contraction(after);
    if (head_end > after) return contraction(head_end);
  } else if (is_letter) {
    const size_t end = word(begin, &head_end);
    return contraction(end != kNoMatch ? end : head_end);
  } else if ((first & kNumber) != 0) {
    for (int i = 1; i < 3 && after < size_; ++i) {
      size_t next = after;
      if ((take(&next) & kNumber) == 0) break;
      after = next;
    }
    return after;
  }
  if ((first & kNotSymbol) == 0 || data_[begin] == ' ') {
    // The first symbol is `first` itself, or the character behind a blank.
    size_t end = symbol_run(after);
    if ((first & kNotSymbol) == 0 || end > after) {
      while (end < size_ && (data_[end] == '\r' || data_[end] == '\n' || data_[end] == '/')) ++end;
      return end;
    }
  }
  return spaces(begin, after);
}

}  // namespace

size_t next_piece(std::string_view text, size_t begin) {
  return Scanner(text).piece(begin);
}

}  // namespace mm2
