#include "chat/parser.h"

#include "chat/json_text.h"

namespace mm2::chat {
namespace {

constexpr std::string_view kThinkOpen = "<think>";

}  // namespace

Result<ParserMode> parser_mode(std::string_view name) {
  struct Name {
    std::string_view name;
    ParserMode mode;
  };
  static constexpr Name kNames[] = {
      {"minimax_m2", ParserMode::minimax_m2},
      {"minimax-m2", ParserMode::minimax_m2},
      {"minimax", ParserMode::minimax_m2},
      {"minimax_m2_append_think", ParserMode::append_think},
      {"minimax-append-think", ParserMode::append_think},
      {"minimax_append_think", ParserMode::append_think},
      {"minimax_m2_optthink", ParserMode::optthink},
      {"minimax-m2-optthink", ParserMode::optthink},
  };
  for (const Name& known : kNames) {
    if (known.name == name) return known.mode;
  }
  return error(Code::invalid_argument, "parser mode '", std::string(name.substr(0, 64)),
               "' is none of minimax_m2, minimax_m2_append_think, minimax_m2_optthink");
}

Result<std::unique_ptr<Parser>> Parser::create(const ParserOptions& options) {
  const auto mode = static_cast<int32_t>(options.mode);
  if (mode < 0 || mode > 2) {
    return error(Code::invalid_argument, "parser mode ", mode, ": 0, 1 and 2 are known");
  }
  MM2_ASSIGN_OR_RETURN(std::shared_ptr<const ToolSchemas> tools,
                       ToolSchemas::parse(options.tools_json));
  return std::unique_ptr<Parser>(new Parser(options, std::move(tools)));
}

Parser::Parser(const ParserOptions& options, std::shared_ptr<const ToolSchemas> tools)
    : mode_(options.mode),
      starts_in_think_(options.starts_in_think),
      tools_(std::move(tools)),
      call_(tools_) {
  begin();
}

void Parser::reset() {
  finished_ = incomplete_ = probing_ = false;
  detokenizer_.reset();
  buffer_.clear();
  begin_ = scan_ = 0;
  probe_ = Probe();
  work_ = 0;
  reasoning_ = TextChannel(EventKind::reasoning);
  content_ = ContentChannel();
  call_ = CallWriter(tools_);
  events_.clear();
  begin();
}

void Parser::begin() {
  go(Place::start);
  const bool plain =
      mode_ == ParserMode::append_think || (mode_ == ParserMode::optthink && !starts_in_think_);
  if (plain) go(Place::content);
  if (mode_ == ParserMode::append_think && starts_in_think_) content_.add(kThinkOpen, events_);
}

Status Parser::push(std::string_view bytes) {
  if (finished_) return error(Code::invalid_argument, "parser: push after finish, reset it first");
  events_.collect();
  if (detokenizer_) flush_ids();
  append(bytes);
  return {};
}

Status Parser::push_ids(const std::shared_ptr<const Tokenizer>& tokenizer,
                        std::span<const int32_t> ids) {
  if (finished_) return error(Code::invalid_argument, "parser: push after finish, reset it first");
  for (const int32_t id : ids) {
    if (!tokenizer->has(id))
      return error(Code::invalid_argument, "parser: id ", id, " has no token");
  }
  events_.collect();
  if (tokenizer != tokenizer_) flush_ids();
  if (!detokenizer_) detokenizer_.emplace(tokenizer, /*skip_special=*/false);
  tokenizer_ = tokenizer;
  std::string text;
  for (const int32_t id : ids) MM2_RETURN_IF_ERROR(detokenizer_->push(id, &text));
  append(text);
  return {};
}

// The beginning of a character that no id will complete.
void Parser::flush_ids() {
  if (!detokenizer_) return;
  std::string text;
  detokenizer_->flush(&text);
  detokenizer_.reset();
  append(text);
}

// Pieces of few bytes are what a stream is made of: where nothing waits and nothing in the piece can
// begin markup or end within a character, it goes where it belongs without being kept.
bool Parser::take_plain(std::string_view bytes) {
  if (begin_ != buffer_.size() || probing_ || place_ == Place::start) return false;
  for (const char c : bytes) {
    if (c == '<' || c == '[') return false;
  }
  if (static_cast<unsigned char>(bytes.back()) >= 0x80 && unfinished_utf8(bytes) != 0) return false;
  work_ += bytes.size();
  deliver(bytes);
  return true;
}

void Parser::append(std::string_view bytes) {
  if (place_ == Place::done || bytes.empty() || take_plain(bytes)) return;
  buffer_ += bytes;
  run(/*at_end=*/false);
  if (begin_ == buffer_.size()) {
    buffer_.clear();
    begin_ = scan_ = 0;
  } else if (begin_ > 4096 && begin_ > buffer_.size() / 2) {
    buffer_.erase(0, begin_);
    scan_ -= begin_;
    begin_ = 0;
  }
}

Status Parser::finish() {
  if (finished_) return error(Code::invalid_argument, "parser: finished twice");
  events_.collect();
  flush_ids();
  finished_ = true;
  run(/*at_end=*/true);
  incomplete_ |= place_ == Place::block || place_ == Place::invoke || place_ == Place::value;
  content_.finish(events_);
  events_.add_finish(incomplete_);
  buffer_.clear();
  begin_ = scan_ = 0;
  return {};
}

void Parser::run(bool at_end) {
  if (place_ == Place::start && !leave_start(at_end)) return;
  while (place_ != Place::done) {
    if (!probing_) {
      if (!find_candidate()) break;
      pass_on(/*hold_unfinished=*/false);
      probe_.start(rules());
      probing_ = true;
    }
    const Probe::Verdict verdict = probe_.run(std::string_view(buffer_).substr(scan_), at_end);
    if (verdict == Probe::Verdict::more) return;
    probing_ = false;
    if (verdict == Probe::Verdict::no || !accept()) ++scan_;  // the candidate is plain
  }
  pass_on(/*hold_unfinished=*/!at_end);
}

// R3, R5: a <think> that only whitespace precedes. False: not yet decided.
bool Parser::leave_start(bool at_end) {
  while (scan_ < buffer_.size() && is_space(buffer_[scan_]) && scan_ <= kMaxGapBytes) {
    ++scan_;
    ++work_;
  }
  const std::string_view rest = std::string_view(buffer_).substr(scan_, kThinkOpen.size());
  const bool opens = rest == kThinkOpen && scan_ <= kMaxGapBytes;
  if (!opens && !at_end && scan_ <= kMaxGapBytes && kThinkOpen.substr(0, rest.size()) == rest) {
    return false;
  }
  if (opens) skip(kThinkOpen.size());
  scan_ = begin_;
  go(opens || starts_in_think_ ? Place::reasoning : Place::content);
  return true;
}

// Moves scan_ to the next byte that can begin markup here; two bytes rule out nearly all others.
bool Parser::find_candidate() {
  const bool in_tags = place_ == Place::block || place_ == Place::invoke;
  const size_t from = scan_;
  for (; scan_ < buffer_.size(); ++scan_) {
    const char c = buffer_[scan_];
    if (c != '<' && (c != '[' || in_tags)) continue;
    if (scan_ + 1 == buffer_.size()) break;
    const char next = buffer_[scan_ + 1];
    if (c == '[' ? next == 'e' : next == '/' || next == 'm' || next == 'i' || next == 'p') break;
  }
  work_ += scan_ - from + 1;
  return scan_ < buffer_.size();
}

Probe::Rules Parser::rules() const {
  Probe::Rules rules;
  switch (place_) {
    case Place::start:
    case Place::done:
      break;
    case Place::reasoning:
    case Place::content: {
      const bool separates =
          mode_ == ParserMode::minimax_m2 || (mode_ == ParserMode::optthink && starts_in_think_);
      rules.wanted = static_cast<Marks>(kBlockOpen | kEndOfTurn | (separates ? kThinkClose : 0));
      rules.after_block_open = kInvokeOpen | kBlockClose | kEnd;  // G1, E1
      break;
    }
    case Place::block:
      rules.wanted = kInvokeOpen | kBlockClose;
      break;
    case Place::invoke:
      rules.wanted = kParameterOpen | kInvokeClose | kInvokeOpen | kBlockClose;  // I1
      break;
    case Place::value: {
      const char before = scan_ > begin_ ? buffer_[scan_ - 1] : last_in_value_;
      rules.wanted = static_cast<Marks>(kParameterClose | kInvokeClose | kBlockClose | kEndOfTurn |
                                        (before == '\n' ? kParameterOpen : 0));  // V3
      rules.after_parameter_close =
          kParameterOpen | kInvokeOpen | kInvokeClose | kBlockClose | kEnd;  // V1
      rules.after_invoke_close = kInvokeOpen | kBlockClose | kEnd;           // V2
      rules.after_block_close = kEnd;                                        // V2
      break;
    }
  }
  return rules;
}

// The probe found a mark that counts. False: in this place it does not after all.
bool Parser::accept() {
  if (probe_.first() == kEndOfTurn) {  // R9; what follows is whitespace and then nothing
    incomplete_ = place_ == Place::value;
    go(Place::done);
    return true;
  }
  switch (place_) {
    case Place::reasoning:
    case Place::content:
      accept_in_text();
      return true;
    case Place::block:
    case Place::invoke:
      accept_in_block();
      return true;
    case Place::value:
      return accept_in_value();
    case Place::start:
    case Place::done:
      break;
  }
  return false;
}

void Parser::accept_in_text() {
  if (probe_.first() == kThinkClose) {  // R2, R6
    skip(probe_.first_end());
    return go(Place::content);
  }
  content_.block();  // R7: the reasoning is over too
  if (probe_.second() == kEnd) {
    incomplete_ = true;
    return go(Place::done);
  }
  if (probe_.second() == kBlockClose) {
    skip(probe_.second_end());
    return go(Place::content);
  }
  skip(probe_.first_end());
  go(Place::block);
}

void Parser::accept_in_block() {
  const std::string name = probe_name();
  const Marks mark = probe_.first();
  skip(probe_.first_end());
  if (mark == kParameterOpen) {
    value_name_ = name;
    last_in_value_ = '\0';
    call_.begin_value(name, events_);
    return go(Place::value);
  }
  if (place_ == Place::invoke) call_.end(events_);
  go(Place::block);
  if (mark == kInvokeOpen) {
    call_.begin(name, events_);
    go(Place::invoke);
  } else if (mark == kBlockClose) {
    go(Place::content);
  }
}

bool Parser::accept_in_value() {
  const Marks mark = probe_.first();
  std::string name;
  if (mark == kParameterOpen) {
    name = probe_name();
    if (name == value_name_ || !call_.expects(name)) return false;
  }
  skip(probe_.first_end());
  call_.end_value(/*drop_blanks=*/mark != kParameterClose, events_);
  go(Place::invoke);
  if (mark == kParameterOpen) {
    value_name_ = name;
    last_in_value_ = '\0';
    call_.begin_value(name, events_);
    go(Place::value);
  } else if (mark != kParameterClose) {
    call_.end(events_);
    go(mark == kInvokeClose ? Place::block : Place::content);
  }
  return true;
}

// The name in the opening tag at the candidate, without whitespace around it (G3).
std::string Parser::probe_name() const {
  if ((probe_.first() & (kInvokeOpen | kParameterOpen)) == 0) return {};
  return std::string(trim(std::string_view(buffer_).substr(
      scan_ + probe_.name_begin(), probe_.name_end() - probe_.name_begin())));
}

// Plain bytes up to scan_ go where this place sends them.
void Parser::pass_on(bool hold_unfinished) {
  std::string_view plain = std::string_view(buffer_).substr(begin_, scan_ - begin_);
  if (hold_unfinished) plain.remove_suffix(unfinished_utf8(plain));
  deliver(plain);
  begin_ += plain.size();
}

void Parser::deliver(std::string_view plain) {
  switch (place_) {
    case Place::reasoning:
      reasoning_.add(plain, events_);
      break;
    case Place::content:
      content_.add(plain, events_);
      break;
    case Place::value:
      call_.add(plain, events_);
      if (!plain.empty()) last_in_value_ = plain.back();
      break;
    case Place::start:
    case Place::block:  // I4
    case Place::invoke:
    case Place::done:
      break;
  }
}

// Leaves out the n bytes at the candidate.
void Parser::skip(size_t n) {
  begin_ = scan_ += n;
}

}  // namespace mm2::chat
