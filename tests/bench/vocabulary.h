// A tokenizer.json of the real size, made up: for the time that loading takes.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/join.h"
#include "text/splitter.h"

namespace bench {

/// The family's pipeline over `n_tokens` tokens and 64 added ones. Each token but the first 256
/// joins two before it, shorter ones more often; they have 7 bytes on average as in real files.
inline std::string vocabulary_file(size_t n_tokens) {
  // The byte-level spelling, of bytes that need no escape in JSON.
  std::vector<std::string> tokens;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const uint32_t c = printable ? byte : next++;
    if (c < 0x80) {
      tokens.emplace_back(1, static_cast<char>(c));
    } else {
      tokens.push_back({static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))});
    }
  }
  std::unordered_set<std::string> known(tokens.begin(), tokens.end());
  std::vector<std::pair<uint32_t, uint32_t>> merges;
  uint64_t state = 1;
  const auto below = [&](uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>((state >> 33) % n);
  };
  while (tokens.size() < n_tokens) {
    const uint32_t left = below(below(tokens.size()) + 1), right = below(below(4096) + 1);
    if (right >= tokens.size()) continue;
    std::string joined = tokens[left] + tokens[right];
    if (joined.size() > 16 || !known.insert(joined).second) continue;
    tokens.push_back(std::move(joined));
    merges.emplace_back(left, right);
  }
  const auto quoted = [](const std::string& token) {
    std::string out = "\"";
    for (const char c : token) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
    return out;
  };
  std::string out = "{\n  \"version\": \"1.0\",\n  \"added_tokens\": [";
  for (size_t i = 0; i < 64; ++i) {
    out += mm2::join(i > 0 ? "," : "", "\n    {\"id\": ", n_tokens + i,
                     ", \"content\": \"]<]added ", i,
                     "[>[\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                     "\"normalized\": false, \"special\": true}");
  }
  out +=
      "\n  ],\n  \"normalizer\": {\"type\": \"NFC\"},\n  \"pre_tokenizer\": {\"type\": "
      "\"Sequence\", "
      "\"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": " +
      quoted(std::string(mm2::kM2SplitPattern)) +
      "}, \"behavior\": \"Removed\", \"invert\": true}, {\"type\": \"ByteLevel\", "
      "\"add_prefix_space\": false, \"use_regex\": false}]},\n"
      "  \"decoder\": {\"type\": \"ByteLevel\"},\n  \"model\": {\n    \"type\": \"BPE\",\n"
      "    \"vocab\": {";
  for (size_t i = 0; i < tokens.size(); ++i)
    out += mm2::join(i > 0 ? "," : "", "\n      ", quoted(tokens[i]), ": ", i);
  out += "\n    },\n    \"merges\": [";
  for (size_t i = 0; i < merges.size(); ++i) {
    out += mm2::join(i > 0 ? "," : "", "\n      [\n        ", quoted(tokens[merges[i].first]),
                     ",\n        ", quoted(tokens[merges[i].second]), "\n      ]");
  }
  return out + "\n    ]\n  }\n}\n";
}

}  // namespace bench
