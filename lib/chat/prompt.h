// A rendered prompt that knows which of its bytes are markup of the template's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace mm2 {
class Tokenizer;
}

namespace mm2::chat {

/// Bytes [begin, end) of Prompt::text. Segments tile the text; neighbours differ in `is_markup`
/// or are both markup.
struct Segment {
  size_t begin = 0;
  size_t end = 0;
  bool is_markup = false;  // exactly one control token, written by the template itself
};

struct Prompt {
  std::string text;
  std::vector<Segment> segments;

  std::string_view slice(const Segment& s) const {
    return std::string_view(text).substr(s.begin, s.end - s.begin);
  }
  /// Appends a control token of the template: "]~b]", "[e~[", "<think>" ...
  void add_markup(std::string_view token);
  /// Appends anything else. Text that spells a control token stays ordinary text.
  void add_text(std::string_view plain);
  /// The same piece by piece: what is appended to the result before another function is called is
  /// ordinary text. The segments are right again after add_markup() or close().
  std::string& open_text();
  void close();
};

/// Appends the ids of `text`; special tokens are recognised in it only if `parse_special`.
using Encode =
    std::function<Status(std::string_view text, bool parse_special, std::vector<int32_t>& ids)>;

/// The ids of a prompt: control tokens only where the template put them, so that what a user wrote
/// can never open a turn, close one or call a tool. Fails as `encode` does.
Result<std::vector<int32_t>> encode_prompt(const Prompt& prompt, const Encode& encode);
Result<std::vector<int32_t>> encode_prompt(const Prompt& prompt, const Tokenizer& tokenizer);

}  // namespace mm2::chat
