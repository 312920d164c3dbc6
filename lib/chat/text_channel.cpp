#include "chat/text_channel.h"

#include "chat/json_text.h"
#include "chat/markup.h"

namespace mm2::chat {

void TextChannel::add(std::string_view bytes, EventQueue& events) {
  if (!started_) {
    while (!bytes.empty() && bytes.front() == '\n') bytes.remove_prefix(1);
    if (bytes.empty()) return;
    started_ = true;
  }
  size_t n_last = 0;
  while (n_last < bytes.size() && bytes[bytes.size() - 1 - n_last] == '\n') ++n_last;
  if (n_last == bytes.size()) {
    newlines_ += n_last;
    return;
  }
  std::string& out = events.open(kind_, -1);
  if (newlines_ > 0) out.append(newlines_, '\n');
  out += bytes.substr(0, bytes.size() - n_last);
  events.close();
  newlines_ = n_last;
}

void ContentChannel::add(std::string_view bytes, EventQueue& events) {
  if (!solid_) {
    size_t n_blank = 0;
    while (n_blank < bytes.size() && is_space(bytes[n_blank]) &&
           blank_.size() + n_blank <= kMaxGapBytes) {
      ++n_blank;
    }
    blank_ += bytes.substr(0, n_blank);
    if (n_blank == bytes.size()) return;
    bytes.remove_prefix(n_blank);
    text_.add(blank_, events);
    blank_.clear();
    solid_ = true;
  }
  text_.add(bytes, events);
}

void ContentChannel::block() {
  blank_.clear();
  solid_ = false;
  after_block_ = true;
}

void ContentChannel::finish(EventQueue& events) {
  if (!after_block_) text_.add(blank_, events);
  blank_.clear();
}

}  // namespace mm2::chat
