// The markup of model output, recognised byte by byte with bounded look-ahead: which literal or
// opening tag starts here, and does what follows make it count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mm2::chat {

/// What can stand in model output, as bits of a set.
enum Mark : uint16_t {
  kNoMark = 0,
  kThinkClose = 1 << 0,      // </think>
  kBlockOpen = 1 << 1,       // <minimax:tool_call>
  kBlockClose = 1 << 2,      // </minimax:tool_call>
  kInvokeOpen = 1 << 3,      // <invoke name=..>
  kInvokeClose = 1 << 4,     // </invoke>
  kParameterOpen = 1 << 5,   // <parameter name=..>
  kParameterClose = 1 << 6,  // </parameter>
  kEndOfTurn = 1 << 7,       // [e~[
  kEnd = 1 << 8,             // the end of the output
};
using Marks = uint16_t;

inline constexpr size_t kMaxTagBytes = 4096;   // S5: a longer opening tag is not structure
inline constexpr size_t kMaxGapBytes = 65536;  // S5: nor is a marker after more whitespace

/// One literal or opening tag out of a set. Feed it bytes until it says yes or no.
class MarkMatcher {
 public:
  enum class Verdict { more, yes, no };

  void start(Marks wanted);
  Verdict feed(char c);

  Marks alive() const { return alive_; }             // after yes: the one that matched
  size_t name_begin() const { return name_begin_; }  // of an opening tag, from its `<`
  size_t name_end() const { return name_end_; }

 private:
  enum class Part { literal, before_name, word, before_equals, before_value, quoted, bare, after };

  Verdict feed_literal(char c);
  Verdict feed_attribute(char c);
  Verdict tag_done(bool well_formed);

  Marks alive_ = kNoMark;
  Part part_ = Part::literal;
  char quote_ = '"';
  bool has_name_ = false;  // something else than whitespace
  size_t n_ = 0;           // bytes fed
  size_t name_begin_ = 0;
  size_t name_end_ = 0;
};

/// A mark at a candidate position and, for those marks that count only by what comes next, that
/// next mark behind whitespace. Runs on as bytes arrive and never looks at one twice.
class Probe {
 public:
  enum class Verdict { more, yes, no };

  /// `wanted`: marks that count here; `after_..`: what must follow such a mark, kNoMark if nothing
  /// needs to. An end-of-turn marker counts only at the end of the output.
  struct Rules {
    Marks wanted = kNoMark;
    Marks after_block_open = kNoMark;
    Marks after_block_close = kNoMark;
    Marks after_invoke_close = kNoMark;
    Marks after_parameter_close = kNoMark;
    Marks follow(Marks mark) const;
  };

  void start(const Rules& rules);
  /// `bytes` begin at the candidate and hold at least what was seen before; `at_end`: no more come.
  Verdict run(std::string_view bytes, bool at_end);

  Marks first() const { return first_; }
  Marks second() const { return second_; }  // kEnd: the output ended (or was cut) there
  size_t first_end() const { return first_end_; }
  size_t second_end() const { return seen_; }
  size_t name_begin() const { return name_begin_; }  // when first() is an opening tag
  size_t name_end() const { return name_end_; }
  uint64_t work() const { return work_; }  // bytes looked at since construction

 private:
  enum class Stage { first, gap, second, tail };

  Verdict step(char c);
  Verdict first_done();
  Verdict at_end_verdict();

  Rules rules_;
  MarkMatcher matcher_;
  Stage stage_ = Stage::first;
  Marks first_ = kNoMark;
  Marks second_ = kNoMark;
  Marks follow_ = kNoMark;
  size_t seen_ = 0;
  size_t first_end_ = 0;
  size_t gap_ = 0;  // whitespace bytes behind the first mark
  size_t name_begin_ = 0;
  size_t name_end_ = 0;
  uint64_t work_ = 0;
};

}  // namespace mm2::chat
