#include "text/detokenizer.h"

#include "text/utf8.h"

namespace mm2 {
namespace {

// Length of the end of `bytes` that may become a character. ED A0..BF, the beginning of an encoded
// surrogate, is ill-formed already; it is kept until its third byte, so that the pieces are those
// of Python's incremental decoder, which the engines around Python stream with.
size_t held_length(std::string_view bytes) {
  const size_t n = bytes.size();
  for (size_t length = n < 3 ? n : 3; length > 0; --length) {
    const std::string_view end = bytes.substr(n - length);
    const auto lead = static_cast<unsigned char>(end[0]);
    if (lead < 0xC0) continue;
    const bool is_surrogate =
        lead == 0xED && length == 2 && (static_cast<unsigned char>(end[1]) & 0xE0) == 0xA0;
    const utf8::Step step = utf8::step(end);
    if (is_surrogate || (step.cut && step.length == length)) return length;
  }
  return 0;
}

}  // namespace

Status Detokenizer::push(int32_t id, std::string* text) {
  if (!tokenizer_->has(id))
    return error(Code::invalid_argument, "detokenizer: id ", id, " has no token");
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  held_ += tokenizer_->bytes(id);
  const size_t ready = held_.size() - held_length(held_);
  utf8::append_repaired(std::string_view(held_).substr(0, ready), text);
  held_.erase(0, ready);
  return {};
}

void Detokenizer::flush(std::string* text) {
  utf8::append_repaired(held_, text);
  held_.clear();
}

}  // namespace mm2
