// Added tokens: spellings that become one id wherever they stand in a text, before it is split.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mm2 {

/// One entry of added_tokens in tokenizer.json.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // control token: left out of text by skip_special
  bool normalized = false;   // looked for in the normalised text instead of the raw one
  bool single_word = false;  // only if no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
};

/// A part of a text: an added token, or what lies between two of them.
struct TextPart {
  static constexpr int32_t kText = -1;
  int32_t id = kText;
  size_t begin = 0;
  size_t end = 0;
};

/// Finds some added tokens in texts. Immutable; any number of threads.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  /// `tokens` must outlive the matcher; `spellings[i]` is what to look for in place of
  /// tokens[i]->content. Empty spellings are never found; of equal ones the last counts.
  AddedTokenMatcher(std::vector<const AddedToken*> tokens, std::vector<std::string> spellings);

  bool empty() const { return tokens_.empty(); }

  /// Replaces `*parts` by the parts of `text`, in order: matches are leftmost, then longest, and do
  /// not overlap. Time: length of the text times that of the longest spelling at worst.
  void split(std::string_view text, std::vector<TextPart>* parts) const;

 private:
  // The trie lies in arrays: edges of node i are [first_edge[i], first_edge[i + 1]), by byte.
  struct Edge {
    uint8_t byte;
    uint32_t node;
  };
  static constexpr uint32_t kNothing = UINT32_MAX;
  struct Found {
    uint32_t token = kNothing;
    size_t length = 0;
  };
  Found longest_at(std::string_view text, size_t begin) const;
  uint32_t child(uint32_t node, uint8_t byte) const;
  void build(const std::vector<std::string>& spellings);

  std::vector<const AddedToken*> tokens_;
  std::vector<uint32_t> first_edge_;
  std::vector<Edge> edges_;
  std::vector<uint32_t> token_of_node_;  // kNothing where no spelling ends
  std::array<bool, 256> starts_{};       // bytes that begin a spelling
};

}  // namespace mm2
