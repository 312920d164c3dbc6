// Token ids to text while they arrive.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "text/tokenizer.h"

namespace mm2 {

/// The texts of one stream, joined, are Tokenizer::decode of its ids. Belongs to one thread at a
/// time; holds its tokenizer.
class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  /// Appends what `id` completes. Only the beginning of a character is held back, at most 3 bytes;
  /// ill-formed bytes become U+FFFD as soon as they are known to be (an encoded surrogate one byte
  /// later). Errors: invalid_argument for an id without a token; stream and text are as before.
  Status push(int32_t id, std::string* text);

  /// Appends what is held back, as U+FFFD. The stream begins anew.
  void flush(std::string* text);

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_;
  std::string held_;
};

}  // namespace mm2
