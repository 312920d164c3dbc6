#include "chat/jinja/case.h"

#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;

void append(std::string& out, char32_t c, int32_t mapping) {
  if ((mapping & kExtended) == 0 || mapping < 0) {
    return append_code_point(out, c + static_cast<char32_t>(mapping));
  }
  const char32_t* text = kCaseLonger + (mapping & 0xFFFF);
  for (int n = mapping >> 16 & 0xF; n > 0; --n) append_code_point(out, *text++);
}

// Whether the capital sigma before `end` stands behind a letter and before none. Marks that do not
// count lie between two sigmas at most twice, so the work stays linear.
bool ends_word(std::string_view text, size_t begin, size_t end) {
  char32_t before = 0;
  for (size_t at = begin; at > 0;) {
    at = previous(text, at);
    size_t next = at;
    before = next_code_point(text, next);
    if (!is_any(before, kIgnorable)) break;
    before = 0;
  }
  if (!is_any(before, kCased)) return false;
  while (end < text.size()) {
    const char32_t behind = next_code_point(text, end);
    if (!is_any(behind, kIgnorable)) return !is_any(behind, kCased);
  }
  return true;
}

struct At {
  std::string_view text;
  size_t begin, end;  // of the character
  char32_t c;
};

void append_lower(std::string& out, const At& at) {
  if (at.c == kCapitalSigma && ends_word(at.text, at.begin, at.end)) {
    return append_code_point(out, kFinalSigma);
  }
  append(out, at.c, case_of(at.c).lower);
}

template <typename F>
std::string each(std::string_view text, F f) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    f(out, At{text, begin, at, c});
  }
  return out;
}

template <typename F>
bool every(std::string_view text, F f) {
  for (size_t at = 0; at < text.size();) {
    if (!f(next_code_point(text, at))) return false;
  }
  return true;
}

}  // namespace

bool are_all(std::string_view text, uint16_t kinds) {
  return !text.empty() && every(text, [&](char32_t c) { return is_any(c, kinds); });
}

std::string upper(std::string_view text) {
  return each(text, [](std::string& out, const At& at) { append(out, at.c, case_of(at.c).upper); });
}

std::string lower(std::string_view text) {
  return each(text, append_lower);
}

std::string casefold(std::string_view text) {
  return each(text, [](std::string& out, const At& at) { append(out, at.c, case_of(at.c).fold); });
}

std::string capitalize(std::string_view text) {
  return each(text, [](std::string& out, const At& at) {
    at.begin == 0 ? append(out, at.c, case_of(at.c).title) : append_lower(out, at);
  });
}

std::string title(std::string_view text) {
  bool inside = false;
  return each(text, [&](std::string& out, const At& at) {
    inside ? append_lower(out, at) : append(out, at.c, case_of(at.c).title);
    inside = is_any(at.c, kCased);
  });
}

std::string swapcase(std::string_view text) {
  return each(text, [](std::string& out, const At& at) {
    const CaseRecord& record = case_of(at.c);
    if (record.kinds & kUpper) return append_lower(out, at);
    append(out, at.c, record.kinds & kLower ? record.upper : 0);
  });
}

bool is_lower(std::string_view text) {
  bool cased = false;
  return every(text,
               [&](char32_t c) {
                 cased = cased || is_any(c, kLower);
                 return !is_any(c, kUpper | kTitle);
               }) &&
         cased;
}

bool is_upper(std::string_view text) {
  bool cased = false;
  return every(text,
               [&](char32_t c) {
                 cased = cased || is_any(c, kUpper);
                 return !is_any(c, kLower | kTitle);
               }) &&
         cased;
}

bool is_title(std::string_view text) {
  bool cased = false, inside = false;
  return every(text,
               [&](char32_t c) {
                 const uint16_t kinds = case_of(c).kinds;
                 const bool begins = (kinds & (kUpper | kTitle)) != 0,
                            goes_on = (kinds & kLower) != 0;
                 const bool fits = begins ? !inside : !goes_on || inside;
                 inside = begins || goes_on;
                 cased = cased || inside;
                 return fits;
               }) &&
         cased;
}

bool is_identifier(std::string_view text) {
  size_t at = 0;
  return !text.empty() && is_any(next_code_point(text, at), kIdentifierStart) &&
         every(text, [](char32_t c) { return is_any(c, kIdentifierPart); });
}

}  // namespace mm2::chat::jinja
