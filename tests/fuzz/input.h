// Takes a fuzz input apart: single decisions from its first bytes, text from the rest.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(reinterpret_cast<const char*>(data), size) {}

  /// The next byte; 0 behind the end.
  uint8_t byte() {
    if (data_.empty()) return 0;
    const auto value = static_cast<uint8_t>(data_[0]);
    data_.remove_prefix(1);
    return value;
  }
  size_t below(size_t n) { return byte() % n; }
  bool done() const { return data_.empty(); }
  std::string_view take(size_t n) {
    const std::string_view out = data_.substr(0, n);
    data_.remove_prefix(out.size());
    return out;
  }
  /// Up to the next NUL, which is dropped, or to the end.
  std::string_view line() {
    const std::string_view out = take(std::min(data_.find('\0'), data_.size()));
    byte();
    return out;
  }
  std::string_view rest() { return take(data_.size()); }

 private:
  std::string_view data_;
};

/// Words that a made-up document is likely to mean something with.
struct Words {
  std::span<const char* const> keys;
  std::span<const char* const> strings;
};

inline void append_string(Input& in, std::span<const char* const> words, std::string& out) {
  out += '"';
  const uint8_t pick = in.byte();
  if (pick < 160 && !words.empty()) {
    out += words[pick % words.size()];  // spelled as in JSON
  } else {
    for (const char c : in.take(pick % 24)) {
      if (c == '"' || c == '\\') out += '\\';
      if (static_cast<unsigned char>(c) >= 0x80) {
        out += c % 2 ? "\\u00e9" : "\\ud83d\\ude00";
      } else if (c == '\n') {
        out += "\\n";
      } else {
        out += c < ' ' || c == 0x7F ? '.' : c;
      }
    }
  }
  out += '"';
}

/// Appends a JSON document that the input decides about.
inline void append_json(Input& in, const Words& words, int depth, std::string& out) {
  static constexpr const char* kNumbers[] = {"0",   "1",    "-1",  "2",
                                             "1.0", "0.5",  "1e3", "1e99",
                                             "255", "4096", "-0",  "123456789012345678901"};
  const size_t kind = in.below(depth > 0 ? 12 : 6);
  if (kind == 0) {
    out += in.below(2) ? "true" : "false";
  } else if (kind == 1) {
    out += "null";
  } else if (kind == 2) {
    out += kNumbers[in.below(std::size(kNumbers))];
  } else if (kind < 6) {
    append_string(in, words.strings, out);
  } else {
    const bool object = kind > 7;
    out += object ? '{' : '[';
    for (size_t n = in.below(6), i = 0; i < n && !in.done(); ++i) {
      if (i > 0) out += ", ";
      if (object) {
        append_string(in, words.keys, out);
        out += ": ";
      }
      append_json(in, words, depth - 1, out);
    }
    out += object ? '}' : ']';
  }
}

}  // namespace fuzz
