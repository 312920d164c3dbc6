// The text is cut at stable characters (unicode::kUnstable unset); a stretch from one such cut to
// the next is left alone unless it holds an unstable character, and then it is decomposed, ordered
// and composed as UAX #15 says.
#include "text/nfc.h"

#include <algorithm>
#include <vector>

#include "text/unicode/tables.h"
#include "text/utf8.h"

namespace mm2 {
namespace {

// The Unicode standard, 3.12: Hangul syllables by arithmetic.
constexpr char32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28;
constexpr char32_t kSCount = kLCount * kVCount * kTCount;

struct Character {
  char32_t code_point;
  uint8_t combining_class;
};

void push(char32_t code_point, std::vector<Character>* out) {
  out->push_back({code_point, unicode::combining_class(code_point)});
}

void decompose(char32_t code_point, std::vector<Character>* out) {
  if (code_point - kSBase < kSCount) {
    const char32_t index = code_point - kSBase;
    push(kLBase + index / (kVCount * kTCount), out);
    push(kVBase + index / kTCount % kVCount, out);
    if (index % kTCount != 0) push(kTBase + index % kTCount, out);
    return;
  }
  const auto* end = unicode::kDecompositions + unicode::kDecompositionCount;
  const auto* found = std::lower_bound(
      unicode::kDecompositions, end, code_point,
      [](const unicode::Decomposition& d, char32_t wanted) { return d.code_point < wanted; });
  if (found == end || found->code_point != code_point) {
    push(code_point, out);
    return;
  }
  for (uint32_t i = 0; i < found->length; ++i)
    push(unicode::kDecomposedText[found->begin + i], out);
}

// The primary composite of two characters, 0 if there is none.
char32_t compose(char32_t first, char32_t second) {
  if (first - kLBase < kLCount && second - kVBase < kVCount)
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  const bool is_lv = first - kSBase < kSCount && (first - kSBase) % kTCount == 0;
  if (is_lv && second > kTBase && second < kTBase + kTCount) return first + (second - kTBase);
  const auto* end = unicode::kCompositions + unicode::kCompositionCount;
  const auto* found =
      std::lower_bound(unicode::kCompositions, end, std::pair(first, second),
                       [](const unicode::Composition& c, const std::pair<char32_t, char32_t>& p) {
                         return std::pair(c.first, c.second) < p;
                       });
  const bool hit = found != end && found->first == first && found->second == second;
  return hit ? found->composed : 0;
}

void order_marks(std::vector<Character>* text) {
  auto begin = text->begin();
  while (begin != text->end()) {
    begin = std::find_if(begin, text->end(), [](Character c) { return c.combining_class != 0; });
    auto end = std::find_if(begin, text->end(), [](Character c) { return c.combining_class == 0; });
    const auto lower = [](Character a, Character b) {
      return a.combining_class < b.combining_class;
    };
    if (!std::is_sorted(begin, end, lower)) std::stable_sort(begin, end, lower);
    begin = end;
  }
}

// In place; returns the new length.
size_t compose_all(std::vector<Character>* characters) {
  std::vector<Character>& text = *characters;
  constexpr size_t kNone = SIZE_MAX;
  size_t starter = kNone, out = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const Character c = text[i];
    if (starter != kNone) {
      // Blocked if something between the starter and c is a starter or has c's class or a higher
      // one; after ordering the last kept character decides that.
      const bool adjacent = out == starter + 1;
      const bool blocked = !adjacent && text[out - 1].combining_class >= c.combining_class;
      const char32_t composed = blocked ? 0 : compose(text[starter].code_point, c.code_point);
      if (composed != 0) {
        text[starter].code_point = composed;
        continue;
      }
    }
    if (c.combining_class == 0) starter = out;
    text[out++] = c;
  }
  return out;
}

bool is_stable(std::string_view text, size_t position) {
  return (unicode::flags(utf8::next(text.data(), &position)) & unicode::kUnstable) == 0;
}

// Position of the first unstable character at or after `from`.
size_t find_unstable(std::string_view text, size_t from) {
  while (from < text.size()) {
    if (static_cast<unsigned char>(text[from]) < 0x80) {
      ++from;
      continue;
    }
    size_t after = from;
    if (unicode::flags(utf8::next(text.data(), &after)) & unicode::kUnstable) return from;
    from = after;
  }
  return from;
}

}  // namespace

std::string_view nfc(std::string_view text, std::string* buffer) {
  size_t unstable = find_unstable(text, 0);
  if (unstable == text.size()) return text;
  buffer->clear();
  buffer->reserve(text.size());
  std::vector<Character> stretch;
  size_t done = 0;
  while (unstable < text.size()) {
    // The stable character in front belongs to the stretch: marks attach to it.
    const size_t begin = unstable > done ? utf8::previous(text.data(), unstable) : unstable;
    buffer->append(text.substr(done, begin - done));
    stretch.clear();
    size_t end = begin;
    do decompose(utf8::next(text.data(), &end), &stretch);
    while (end < text.size() && (end <= unstable || !is_stable(text, end)));
    order_marks(&stretch);
    const size_t length = compose_all(&stretch);
    for (size_t i = 0; i < length; ++i) utf8::append(stretch[i].code_point, buffer);
    done = end;
    unstable = find_unstable(text, done);
  }
  buffer->append(text.substr(done));
  return *buffer;
}

}  // namespace mm2
