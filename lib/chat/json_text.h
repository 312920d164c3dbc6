// Writing and checking JSON text without building it: what the output codec needs to pass values
// on while they arrive.
#pragma once

#include <string>
#include <string_view>

namespace mm2::chat {

/// Space, tab, CR, LF: what JSON and the tool-call markup call whitespace.
inline bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
std::string_view trim(std::string_view text);
inline std::string_view trim_right(std::string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// How many bytes at the end of `text` begin a UTF-8 sequence whose rest has not arrived: 0 to 3.
size_t unfinished_utf8(std::string_view text);

/// Appends `text` as the inside of a JSON string. Ill-formed UTF-8 becomes one U+FFFD per maximal
/// ill-formed part, so the result is always valid.
void append_escaped(std::string& out, std::string_view text);

/// Nesting above which is_json says no: a value that deep would break the readers behind us.
inline constexpr size_t kMaxJsonDepth = 512;

/// Whether `text`, without whitespace around it, is one RFC 8259 value in valid UTF-8 whose numbers
/// are integers of any size or finite as doubles, without halves of surrogate pairs. No recursion, one pass.
bool is_json(std::string_view text);

}  // namespace mm2::chat
