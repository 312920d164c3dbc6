#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode/tables.h"
#include "text/utf8.h"

namespace mm2 {
namespace {

uint8_t flags_before(std::string_view text, size_t position) {
  size_t begin = utf8::previous(text.data(), position);
  return unicode::flags(utf8::next(text.data(), &begin));
}

uint8_t flags_at(std::string_view text, size_t position) {
  return unicode::flags(utf8::next(text.data(), &position));
}

bool is_single_word(std::string_view text, size_t begin, size_t end) {
  const bool word_before = begin > 0 && (flags_before(text, begin) & unicode::kWord) != 0;
  const bool word_behind = end < text.size() && (flags_at(text, end) & unicode::kWord) != 0;
  return !word_before && !word_behind;
}

size_t space_before(std::string_view text, size_t position, size_t lower_bound) {
  while (position > lower_bound && (flags_before(text, position) & unicode::kSpace) != 0)
    position = utf8::previous(text.data(), position);
  return position;
}

size_t space_behind(std::string_view text, size_t position) {
  while (position < text.size()) {
    size_t after = position;
    if ((unicode::flags(utf8::next(text.data(), &after)) & unicode::kSpace) == 0) break;
    position = after;
  }
  return position;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<const AddedToken*> tokens,
                                     std::vector<std::string> spellings)
    : tokens_(std::move(tokens)) {
  build(spellings);
}

// Breadth first over the sorted spellings: a node is the range of spellings that share its path.
void AddedTokenMatcher::build(const std::vector<std::string>& spellings) {
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < spellings.size(); ++i)
    if (!spellings[i].empty()) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return spellings[a] < spellings[b]; });
  struct Node {
    size_t begin, end, depth;
  };
  std::vector<Node> nodes = {{0, order.size(), 0}};
  for (size_t i = 0; i < nodes.size(); ++i) {
    auto [begin, end, depth] = nodes[i];
    first_edge_.push_back(static_cast<uint32_t>(edges_.size()));
    token_of_node_.push_back(kNothing);
    while (begin < end && spellings[order[begin]].size() == depth)
      token_of_node_.back() = order[begin++];
    while (begin < end) {
      const auto byte = static_cast<uint8_t>(spellings[order[begin]][depth]);
      size_t stop = begin;
      while (stop < end && static_cast<uint8_t>(spellings[order[stop]][depth]) == byte) ++stop;
      edges_.push_back({byte, static_cast<uint32_t>(nodes.size())});
      nodes.push_back({begin, stop, depth + 1});
      if (depth == 0) starts_[byte] = true;
      begin = stop;
    }
  }
  first_edge_.push_back(static_cast<uint32_t>(edges_.size()));
}

uint32_t AddedTokenMatcher::child(uint32_t node, uint8_t byte) const {
  const auto begin = edges_.begin() + first_edge_[node],
             end = edges_.begin() + first_edge_[node + 1];
  const auto found =
      std::lower_bound(begin, end, byte, [](Edge edge, uint8_t b) { return edge.byte < b; });
  return found != end && found->byte == byte ? found->node : kNothing;
}

AddedTokenMatcher::Found AddedTokenMatcher::longest_at(std::string_view text, size_t begin) const {
  Found found;
  uint32_t node = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    node = child(node, static_cast<uint8_t>(text[i]));
    if (node == kNothing) break;
    if (token_of_node_[node] != kNothing) found = {token_of_node_[node], i + 1 - begin};
  }
  return found;
}

void AddedTokenMatcher::split(std::string_view text, std::vector<TextPart>* parts) const {
  parts->clear();
  size_t done = 0;          // text up to here is in *parts
  size_t spaces_until = 0;  // end of the last white space that a token took: not scanned again
  for (size_t i = 0; i < text.size();) {
    const Found found = starts_[static_cast<uint8_t>(text[i])] ? longest_at(text, i) : Found();
    if (found.length == 0) {
      ++i;
      continue;
    }
    const AddedToken& token = *tokens_[found.token];
    size_t begin = i, end = i + found.length;
    i = end;  // a refused match is used up all the same
    if (token.single_word && !is_single_word(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(done, space_before(text, begin, std::min(begin, done)));
    if (token.rstrip) {
      if (end >= spaces_until) spaces_until = space_behind(text, end);
      end = spaces_until;
    }
    if (done < begin) parts->push_back({TextPart::kText, done, begin});
    parts->push_back({token.id, begin, end});
    done = end;
  }
  if (done < text.size()) parts->push_back({TextPart::kText, done, text.size()});
}

}  // namespace mm2
