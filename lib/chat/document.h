// JSON text to values, quickly: strings without escapes stay where they are.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "chat/value.h"

namespace mm2::chat {

/// Memory for what a document is made of. Objects in it are never destroyed.
class Arena {
 public:
  /// Room for n objects of a type without a destructor.
  template <typename T>
  T* allocate(size_t n) {
    return reinterpret_cast<T*>(bytes(n * sizeof(T), alignof(T)));
  }

 private:
  char* bytes(size_t n, size_t alignment);

  std::vector<std::unique_ptr<char[]>> blocks_;
  size_t left_ = 0;
  char* next_ = nullptr;
};

/// A JSON value and all that it consists of, but for the text it was read from.
class Document {
 public:
  const Value& operator*() const { return root_; }
  const Value* operator->() const { return &root_; }

 private:
  friend Result<Document> parse_document(std::string_view text, const std::string& what);
  Value root_;
  Arena arena_;
};

/// Nesting that parse_document accepts.
inline constexpr int kMaxValueDepth = 256;

/// Strict JSON in valid UTF-8, at most kMaxValueDepth deep, integers of at most 4300 digits; of equal keys the last one wins at the
/// place of the first, as in Python. `text` must outlive the document; `what` names it in messages.
/// Failures: Code::format with line and column.
Result<Document> parse_document(std::string_view text, const std::string& what);

}  // namespace mm2::chat
