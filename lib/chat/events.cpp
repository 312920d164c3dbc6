#include "chat/events.h"

namespace mm2::chat {

std::string& EventQueue::open(EventKind kind, int32_t call_index) {
  const bool joins =
      kind == EventKind::reasoning || kind == EventKind::text || kind == EventKind::call_arguments;
  if (joins && next_ < entries_.size() && entries_.back().kind == kind &&
      entries_.back().call_index == call_index) {
    return text_;
  }
  entries_.push_back({kind, call_index, false, text_.size(), text_.size()});
  return text_;
}

void EventQueue::add(EventKind kind, int32_t call_index, std::string_view data) {
  open(kind, call_index) += data;
  close();
}

void EventQueue::add_finish(bool incomplete) {
  entries_.push_back({EventKind::finish, -1, incomplete, text_.size(), text_.size()});
}

}  // namespace mm2::chat
