#include "chat/prompt.h"

#include "text/tokenizer.h"

namespace mm2::chat {

void Prompt::add_markup(std::string_view token) {
  close();
  segments.push_back({text.size(), text.size() + token.size(), true});
  text += token;
}

void Prompt::add_text(std::string_view plain) {
  if (plain.empty()) return;
  open_text() += plain;
  segments.back().end = text.size();
}

// One run, however many pieces it came in: the tokenizer's split depends on the neighbours.
std::string& Prompt::open_text() {
  if (segments.empty() || segments.back().is_markup) {
    segments.push_back({text.size(), text.size(), false});
  }
  return text;
}

void Prompt::close() {
  if (segments.empty() || segments.back().is_markup) return;
  segments.back().end = text.size();
  if (segments.back().begin == text.size()) segments.pop_back();
}

Result<std::vector<int32_t>> encode_prompt(const Prompt& prompt, const Encode& encode) {
  std::vector<int32_t> ids;
  for (const Segment& segment : prompt.segments) {
    MM2_RETURN_IF_ERROR(encode(prompt.slice(segment), segment.is_markup, ids));
  }
  return ids;
}

Result<std::vector<int32_t>> encode_prompt(const Prompt& prompt, const Tokenizer& tokenizer) {
  const Encode encode = [&](std::string_view text, bool parse_special, std::vector<int32_t>& ids) {
    return tokenizer.encode(text, parse_special, &ids);
  };
  return encode_prompt(prompt, encode);
}

}  // namespace mm2::chat
