#include "chat/markup.h"

#include "chat/json_text.h"

namespace mm2::chat {
namespace {

struct Literal {
  Mark mark;
  std::string_view spelling;
  bool is_tag;  // an attribute follows
};

constexpr Literal kLiterals[] = {
    {kThinkClose, "</think>", false},
    {kBlockOpen, "<minimax:tool_call>", false},
    {kBlockClose, "</minimax:tool_call>", false},
    {kInvokeOpen, "<invoke", true},
    {kInvokeClose, "</invoke>", false},
    {kParameterOpen, "<parameter", true},
    {kParameterClose, "</parameter>", false},
    {kEndOfTurn, "[e~[", false},
};

}  // namespace

void MarkMatcher::start(Marks wanted) {
  *this = MarkMatcher();
  alive_ = wanted;
}

MarkMatcher::Verdict MarkMatcher::feed(char c) {
  const Verdict verdict = part_ == Part::literal ? feed_literal(c) : feed_attribute(c);
  ++n_;
  if (verdict == Verdict::more && n_ >= kMaxTagBytes) return Verdict::no;
  return verdict;
}

// No literal is a prefix of another, so the first complete one is the only one.
MarkMatcher::Verdict MarkMatcher::feed_literal(char c) {
  for (const Literal& literal : kLiterals) {
    if ((alive_ & literal.mark) == 0) continue;
    if (n_ >= literal.spelling.size() || literal.spelling[n_] != c) {
      alive_ = static_cast<Marks>(alive_ & ~literal.mark);
    } else if (n_ + 1 == literal.spelling.size()) {
      alive_ = literal.mark;
      if (!literal.is_tag) return Verdict::yes;
      part_ = Part::before_name;
      return Verdict::more;
    }
  }
  return (alive_ & ~kEnd) != 0 ? Verdict::more : Verdict::no;
}

MarkMatcher::Verdict MarkMatcher::feed_attribute(char c) {
  constexpr std::string_view kName = "name";
  switch (part_) {
    case Part::literal:
      break;
    case Part::before_name:
      if (is_space(c)) {
        has_name_ = true;  // here: the blank that must separate them was there
        return Verdict::more;
      }
      if (c != 'n' || !has_name_) return Verdict::no;
      has_name_ = false;
      name_begin_ = n_;
      part_ = Part::word;
      return Verdict::more;
    case Part::word:
      if (c != kName[n_ - name_begin_]) return Verdict::no;
      if (n_ - name_begin_ + 1 == kName.size()) part_ = Part::before_equals;
      return Verdict::more;
    case Part::before_equals:
      if (c == '=') part_ = Part::before_value;
      return c == '=' || is_space(c) ? Verdict::more : Verdict::no;
    case Part::before_value:
      if (is_space(c)) return Verdict::more;
      if (c == '"' || c == '\'') {
        quote_ = c;
        name_begin_ = n_ + 1;
        part_ = Part::quoted;
        return Verdict::more;
      }
      name_begin_ = n_;
      part_ = Part::bare;
      [[fallthrough]];
    case Part::bare:
      name_end_ = n_;
      if (c == '>') return tag_done(name_end_ > name_begin_);
      if (c == '<' || c == '"' || c == '\'') return Verdict::no;
      has_name_ = true;
      if (is_space(c)) part_ = Part::after;
      return Verdict::more;
    case Part::quoted:
      name_end_ = n_;
      if (c == quote_) {
        part_ = Part::after;
      } else if (!is_space(c)) {
        has_name_ = true;
      }
      return Verdict::more;
    case Part::after:
      if (is_space(c)) return Verdict::more;
      return tag_done(c == '>');
  }
  return Verdict::no;
}

MarkMatcher::Verdict MarkMatcher::tag_done(bool well_formed) {
  return well_formed && has_name_ ? Verdict::yes : Verdict::no;
}

Marks Probe::Rules::follow(Marks mark) const {
  switch (mark) {
    case kBlockOpen:
      return after_block_open;
    case kBlockClose:
      return after_block_close;
    case kInvokeClose:
      return after_invoke_close;
    case kParameterClose:
      return after_parameter_close;
    case kEndOfTurn:
      return kEnd;
    default:
      return kNoMark;
  }
}

void Probe::start(const Rules& rules) {
  rules_ = rules;
  matcher_.start(rules.wanted);
  stage_ = Stage::first;
  first_ = second_ = follow_ = kNoMark;
  seen_ = first_end_ = gap_ = 0;
}

Probe::Verdict Probe::run(std::string_view bytes, bool at_end) {
  while (seen_ < bytes.size()) {
    ++work_;
    const Verdict verdict = step(bytes[seen_++]);
    if (verdict != Verdict::more) return verdict;
  }
  return at_end ? at_end_verdict() : Verdict::more;
}

Probe::Verdict Probe::step(char c) {
  if (stage_ == Stage::gap || stage_ == Stage::tail) {
    if (is_space(c)) return ++gap_ > kMaxGapBytes ? Verdict::no : Verdict::more;
    if (stage_ == Stage::tail || first_ == kEndOfTurn) return Verdict::no;
    // The end of the output may be spelled out as an end-of-turn marker.
    matcher_.start(static_cast<Marks>(follow_ & kEnd ? follow_ | kEndOfTurn : follow_));
    stage_ = Stage::second;
  }
  const MarkMatcher::Verdict verdict = matcher_.feed(c);
  if (verdict == MarkMatcher::Verdict::no) return Verdict::no;
  if (verdict == MarkMatcher::Verdict::more) return Verdict::more;
  if (stage_ == Stage::first) return first_done();
  if (matcher_.alive() == kEndOfTurn) {
    stage_ = Stage::tail;
    return Verdict::more;
  }
  second_ = matcher_.alive();
  return Verdict::yes;
}

Probe::Verdict Probe::first_done() {
  first_ = matcher_.alive();
  first_end_ = seen_;
  name_begin_ = matcher_.name_begin();
  name_end_ = matcher_.name_end();
  follow_ = rules_.follow(first_);
  stage_ = Stage::gap;
  return follow_ == kNoMark ? Verdict::yes : Verdict::more;
}

Probe::Verdict Probe::at_end_verdict() {
  const bool ended = stage_ == Stage::gap || stage_ == Stage::tail;
  // A tool block cut inside the tag that would have made it one.
  const bool cut = stage_ == Stage::second && first_ == kBlockOpen &&
                   (matcher_.alive() & (kInvokeOpen | kBlockClose)) != 0;
  if (!cut && !(ended && (follow_ & kEnd) != 0)) return Verdict::no;
  second_ = kEnd;
  return Verdict::yes;
}

}  // namespace mm2::chat
