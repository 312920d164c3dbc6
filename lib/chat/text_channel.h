// Reasoning and content on their way out: which whitespace goes and which stays.
#pragma once

#include <cstddef>
#include <string_view>

#include "chat/events.h"

namespace mm2::chat {

/// One kind of text, without the newlines at its two ends (R2). Newlines that may turn out to be
/// the last are counted, not kept.
class TextChannel {
 public:
  explicit TextChannel(EventKind kind) : kind_(kind) {}
  void add(std::string_view bytes, EventQueue& events);

 private:
  EventKind kind_;
  bool started_ = false;
  size_t newlines_ = 0;  // held back behind what was passed on
};

/// Content in segments between tool blocks: a segment that is only whitespace and has a block
/// beside it is dropped (C2).
class ContentChannel {
 public:
  void add(std::string_view bytes, EventQueue& events);
  /// A tool block begins: ends the segment before it and begins the one behind it.
  void block();
  /// The output has ended.
  void finish(EventQueue& events);

 private:
  TextChannel text_{EventKind::text};
  std::string blank_;   // the segment as long as it is only whitespace
  bool solid_ = false;  // something else came, or more whitespace than is held back
  bool after_block_ = false;
};

}  // namespace mm2::chat
