#include "chat/call_writer.h"

#include "chat/json_text.h"
#include "chat/markup.h"

namespace mm2::chat {
void CallWriter::begin(std::string_view name, EventQueue& events) {
  ++index_;
  tool_ = tools_->find(std::string(name));
  has_members_ = false;
  given_.clear();
  events.add(EventKind::call_begin, index_, name);
}

void CallWriter::end(EventQueue& events) {
  fragment(has_members_ ? "}" : "{}", events);
  events.add(EventKind::call_end, index_, {});
}

bool CallWriter::expects(const std::string& name) const {
  return tool_ != nullptr && tool_->declares(name) && !given_.contains(name);
}

void CallWriter::begin_value(std::string_view name, EventQueue& events) {
  name_ = name;
  value_.clear();
  blanks_.clear();
  run_ = 0;
  type_ = tool_ != nullptr ? &tool_->type_of(name_) : &untyped_;
  if (!given_.insert(name_).second) {
    sink_ = Sink::ignored;
  } else if (type_->only_string()) {
    sink_ = Sink::stream;
    open_member(events);
    fragment("\"", events);
  } else if (type_->string_or_scalar()) {
    sink_ = Sink::watched;
    watch_.emplace(*type_);
  } else {
    sink_ = Sink::whole;
  }
}

void CallWriter::add(std::string_view bytes, EventQueue& events) {
  if (sink_ == Sink::ignored || bytes.empty()) return;
  if (sink_ == Sink::stream) return add_string(bytes, events);
  if (sink_ == Sink::watched) {
    for (const char c : bytes) {
      if (watch_->feed(c)) continue;
      sink_ = Sink::stream;
      open_member(events);
      fragment("\"", events);
      add_string(value_, events);
      value_.clear();
      return add_string(bytes, events);
    }
  }
  value_ += bytes;
}

void CallWriter::end_value(bool drop_blanks, EventQueue& events) {
  if (sink_ == Sink::stream) {
    std::string& out = events.open(EventKind::call_arguments, index_);
    if (!drop_blanks) append_escaped(out, blanks_);
    out += '"';
    events.close();
  } else if (sink_ != Sink::ignored) {
    const std::string_view text = drop_blanks ? trim_right(value_) : std::string_view(value_);
    std::string json;
    if (!convert_value(*type_, text, json)) {
      json = '"';
      append_escaped(json, text);
      json += '"';
    }
    open_member(events);
    fragment(json, events);
  }
  sink_ = Sink::ignored;
}

void CallWriter::open_member(EventQueue& events) {
  std::string& out = events.open(EventKind::call_arguments, index_);
  out += has_members_ ? ", \"" : "{\"";
  append_escaped(out, name_);
  out += "\": ";
  events.close();
  has_members_ = true;
}

void CallWriter::add_string(std::string_view bytes, EventQueue& events) {
  const std::string_view solid = trim_right(bytes);
  const std::string_view tail = bytes.substr(solid.size());
  run_ = (solid.empty() ? run_ : 0) + tail.size();
  if (solid.empty() && run_ <= kMaxGapBytes) {
    blanks_ += tail;
    return;
  }
  std::string& out = events.open(EventKind::call_arguments, index_);
  if (!blanks_.empty()) append_escaped(out, blanks_);
  append_escaped(out, solid);
  blanks_.clear();
  if (run_ <= kMaxGapBytes) {
    blanks_ = tail;
  } else {  // a run this long is text, however the value ends
    append_escaped(out, tail);
  }
  events.close();
}

}  // namespace mm2::chat
