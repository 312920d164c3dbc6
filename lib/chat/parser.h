// The output codec: bytes of a model's answer in, reasoning, text and tool calls out. It decides
// everything in one pass with bounded look-ahead, so any split of the input gives the same result.
// The contract (rules G1 to S5) is in tests/data/chat/toolcall_cases.json.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "chat/arguments.h"
#include "chat/call_writer.h"
#include "chat/events.h"
#include "chat/markup.h"
#include "chat/text_channel.h"
#include "text/detokenizer.h"

namespace mm2::chat {

/// Values are those of MM2_PARSE_* in the C ABI.
enum class ParserMode : int32_t {
  minimax_m2 = 0,
  append_think = 1,  // no separation: "<think>" and the whole output are text, calls are parsed
  optthink = 2       // as minimax_m2, but all is text when the prompt did not open the reasoning
};

/// The mode that servers know under this name: minimax_m2 (SGLang: minimax-m2, minimax),
/// minimax_m2_append_think (minimax-append-think), minimax_m2_optthink. Failures: invalid_argument.
Result<ParserMode> parser_mode(std::string_view name);

struct ParserOptions {
  ParserMode mode = ParserMode::minimax_m2;
  bool starts_in_think = false;  // the prompt ended inside the reasoning block
  std::string_view tools_json;   // see ToolSchemas::parse; needed only while creating
};

/// One answer. Used by one thread at a time.
class Parser {
 public:
  /// Failures: those of ToolSchemas::parse, and invalid_argument for an unknown mode.
  static Result<std::unique_ptr<Parser>> create(const ParserOptions& options);

  /// Takes the next bytes of the output, cut anywhere. Text that may still become markup is held
  /// back: at most 4 KiB of a tag and 64 KiB of whitespace in each of the three places where
  /// whitespace decides (behind a marker, at the end of a value, alone beside a block). Events
  /// carry whole characters where the output is well-formed UTF-8; ill-formed bytes pass through as
  /// they are, except in arguments, where they become U+FFFD. Failures: invalid_argument after
  /// finish().
  Status push(std::string_view bytes);
  /// The same from token ids: the bytes that Tokenizer::decode gives for all of them, added tokens
  /// included; the beginning of a character waits for its end, and is over when push() is called.
  /// Failures: invalid_argument for an id without a token, before anything is taken.
  Status push_ids(const std::shared_ptr<const Tokenizer>& tokenizer, std::span<const int32_t> ids);
  /// The output has ended: releases or drops what was held back; the last event is `finish`.
  /// Failures: invalid_argument when called twice.
  Status finish();
  /// The next event; false when all that is known was pulled. Ends the data of earlier events only
  /// with the next push().
  bool next(Event& event) { return events_.next(event); }
  /// As after create().
  void reset();

  /// Bytes held back at present.
  size_t held() const { return buffer_.size() - begin_; }
  /// Bytes looked at so far, counting those looked at again: at most a small multiple of the input.
  uint64_t work() const { return work_ + probe_.work(); }

 private:
  enum class Place { start, reasoning, content, block, invoke, value, done };

  Parser(const ParserOptions& options, std::shared_ptr<const ToolSchemas> tools);

  void begin();
  void append(std::string_view bytes);
  bool take_plain(std::string_view bytes);
  void deliver(std::string_view plain);
  void flush_ids();
  void run(bool at_end);
  bool leave_start(bool at_end);
  bool find_candidate();
  Probe::Rules rules() const;
  bool accept();
  void accept_in_text();
  void accept_in_block();
  bool accept_in_value();
  std::string probe_name() const;

  void pass_on(bool hold_unfinished);
  void skip(size_t n);
  void go(Place place) { place_ = place; }

  const ParserMode mode_;
  const bool starts_in_think_;
  const std::shared_ptr<const ToolSchemas> tools_;

  Place place_ = Place::start;
  std::shared_ptr<const Tokenizer> tokenizer_;  // that detokenizer_ is of
  std::optional<Detokenizer> detokenizer_;

  bool finished_ = false;
  bool incomplete_ = false;
  // buffer_[begin_, scan_) is plain and not yet passed on; scan_ is the candidate while probing.
  std::string buffer_;
  size_t begin_ = 0;
  size_t scan_ = 0;
  bool probing_ = false;
  Probe probe_;
  char last_in_value_ = '\0';  // the byte before begin_ in a value: tells the start of a line
  std::string value_name_;
  uint64_t work_ = 0;

  TextChannel reasoning_{EventKind::reasoning};
  ContentChannel content_;
  CallWriter call_;
  EventQueue events_;
};

}  // namespace mm2::chat
