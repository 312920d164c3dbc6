// A strict JSON reader that walks over the text once: for the large arrays of tokenizer.json, which
// would be slow as a document in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace mm2 {

/// Reads values one after the other. Every call that fails leaves a Code::format status with line
/// and column; the cursor is of no use afterwards but to be moved. The text must be well-formed UTF-8 and outlive
/// the cursor.
class JsonCursor {
 public:
  /// `what` names the text in messages; reading starts at byte `begin` of it.
  JsonCursor(std::string_view text, std::string what, size_t begin = 0)
      : text_(text), what_(std::move(what)), position_(begin) {}

  /// The next byte that is not white space, 0 at the end of the text.
  char peek() {
    for (; position_ < text_.size(); ++position_) {
      const char c = text_[position_];
      if (static_cast<unsigned char>(c) > ' ') return c;
      if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c;
    }
    return 0;
  }
  /// Consumes `wanted`, or says what stands there instead.
  Status expect(char wanted);
  /// Inside an object or array whose opening bracket is consumed: *more = false and the closing
  /// bracket consumed at its end; else the comma (unless `*first`, which becomes false) consumed.
  Status next_item(char closing, bool* first, bool* more);
  /// A string without its escapes; the view is valid until the next call.
  Status string(std::string_view* value);
  /// A member's name and the colon behind it.
  Status key(std::string_view* value);
  /// An integer >= 0 without fraction or exponent.
  Status integer(uint64_t* value);
  /// Any value, at most 64 levels deep; *value becomes its text. Its inside is checked only as far
  /// as finding its end takes.
  Status skip(std::string_view* value);
  /// Nothing but white space is left.
  Status end();

  /// Bytes read so far; where reading goes on.
  size_t position() const { return position_; }
  void move_to(size_t position) { position_ = position; }

  Status fail(const std::string& problem) const { return fail(problem, position_); }
  Status fail(const std::string& problem, size_t position) const;

 private:
  Status unexpected(char wanted) const;
  Status escape(std::string* out);
  Status hex4(uint32_t* unit);
  Status skip_string();

  std::string_view text_;
  std::string what_;
  size_t position_;
  std::string unescaped_;
};

}  // namespace mm2
