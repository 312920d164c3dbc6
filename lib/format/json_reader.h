// A strict pull reader for large, flat JSON (safetensors headers, shard indices): no document is
// built, no recursion.
//
// Strict means RFC 8259, valid UTF-8, no lone surrogates, bounded depth. After the first failure
// every call returns false and status() holds the reason with its byte position.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace mm2 {

/// A piece of a file as it may stand in a message: in quotes, unprintable bytes escaped, at most
/// 200 of them.
std::string quoted(std::string_view text);

class JsonReader {
 public:
  static constexpr int kMaxDepth = 64;

  /// `what` names the text in messages; both must outlive the reader.
  JsonReader(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  /// What the values read from now on belong to, for messages: `tensor "NAME"`; empty for none.
  /// Must outlive its use.
  void set_subject(std::string_view kind, std::string_view name) {
    subject_kind_ = kind;
    subject_ = name;
  }

  /// Opens the object or array that comes next; `context` says in messages what it is
  /// ("data_offsets of tensor a").
  bool begin_object(std::string_view context);
  bool begin_array(std::string_view context);
  /// In an object: true with the next key, false at its end (then it is closed) or on failure.
  bool next_key(std::string& key);
  /// In an array: true when another element follows, false at its end (then it is closed) or on
  /// failure.
  bool next_element();

  bool read_string(std::string& value, std::string_view context);
  /// A number as it is spelled.
  bool read_number(std::string_view& spelling, std::string_view context);
  /// A whole number within [0, 2^63): "-2", "2.5" and "1e3" are refused with their spelling.
  bool read_size(int64_t& value, std::string_view context);
  /// Checks and passes over any value.
  bool skip_value();
  /// Only white space is left.
  bool at_end();

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  size_t position() const { return at_; }
  /// Records a failure at the current position (if it is the first) and returns false.
  bool fail(std::string reason);

 private:
  void skip_space();
  bool open(char bracket, std::string_view context);
  bool separator(char closing, bool& more);
  bool string_body(std::string* value);
  bool escape(std::string* value);
  bool hex4(uint32_t& unit);
  bool utf8_sequence(std::string* value);
  bool unexpected(std::string_view wanted, std::string_view context);
  bool literal(std::string_view word);

  std::string_view text_;
  std::string_view what_;
  std::string_view subject_kind_;
  std::string_view subject_;
  size_t at_ = 0;
  int depth_ = 0;
  uint64_t fresh_ = 0;  // bit d: the container at depth d + 1 has had no member yet
  Status status_;
};

}  // namespace mm2
