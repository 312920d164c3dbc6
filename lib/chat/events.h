// What the output codec reports, and the queue that holds it until it is pulled.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mm2::chat {

/// Values are those of MM2_EVENT_* in the C ABI.
enum class EventKind : int32_t {
  reasoning = 1,
  text = 2,
  call_begin = 3,      // data: the tool's name
  call_arguments = 4,  // data: a fragment; those of one call join to one JSON object
  call_end = 5,        // without it the call is not complete and not to be made
  finish = 6           // the last event
};

struct Event {
  EventKind kind = EventKind::finish;
  int32_t call_index = -1;  // of call events: 0, 1, .. in the order of the output
  bool incomplete = false;  // of finish: the output ended inside a tool block
  std::string_view data;    // valid until the parser is next called
};

/// First in, first out; neighbouring pieces of the same text become one event.
class EventQueue {
 public:
  /// Starts an event, or goes on with the last one if that is the same text and not yet pulled:
  /// append its data to the result, then call close().
  std::string& open(EventKind kind, int32_t call_index);
  void close() { entries_.back().end = text_.size(); }

  void add(EventKind kind, int32_t call_index, std::string_view data);
  void add_finish(bool incomplete);
  bool next(Event& event) {
    if (next_ == entries_.size()) return false;
    const Entry& entry = entries_[next_++];
    event.kind = entry.kind;
    event.call_index = entry.call_index;
    event.incomplete = entry.incomplete;
    event.data = std::string_view(text_).substr(entry.begin, entry.end - entry.begin);
    return true;
  }
  /// Frees what was pulled. Data of pulled events ends here.
  void collect() {
    if (next_ == entries_.size()) clear();
  }
  void clear() {
    entries_.clear();
    text_.clear();
    next_ = 0;
  }

 private:
  struct Entry {
    EventKind kind;
    int32_t call_index;
    bool incomplete;
    size_t begin, end;  // in text_
  };

  std::vector<Entry> entries_;
  std::string text_;
  size_t next_ = 0;
};

}  // namespace mm2::chat
