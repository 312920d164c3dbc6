// The tokens that a calibration runs over.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/host.h"
#include "base/status.h"

namespace mm2 {

/// Sequences of tokens one after another. All of them are run; statistics count only those that are
/// marked: the answers of conversations, say.
struct TokenSamples {
  std::vector<int32_t> tokens;   // [n_tokens]
  std::vector<uint8_t> counted;  // [n_tokens], 1: part of the statistics
  std::vector<size_t> starts;    // first token of each sample; ends with n_tokens

  size_t size() const { return starts.empty() ? 0 : starts.size() - 1; }
  size_t n_tokens() const { return tokens.size(); }
  size_t n_counted() const;
};

/// One JSON object a line: {"ids": [..]}, as `mm2 tokenize --jsonl` prints, and where not all tokens
/// count {"ids": [..], "counted": [0, 1, ..]} or {"ids": [..], "count_from": n}. Other members are
/// passed over. Samples are cut to `max_length` tokens (0: not at all); reading ends after `max_tokens`
/// (0: never). Code::format names line and number; an id must be in [0, n_vocab).
Result<TokenSamples> parse_samples(std::string_view text, const std::string& what, int32_t n_vocab,
                                   int64_t max_length, int64_t max_tokens);

/// Token ids as 32-bit little-endian integers, one after another: samples of `max_length` tokens (0: 2,048),
/// the last one with what is left. All count. Errors as above, naming the place in the file.
Result<TokenSamples> parse_binary_samples(std::string_view bytes, const std::string& what,
                                          int32_t n_vocab, int64_t max_length, int64_t max_tokens);

}  // namespace mm2
