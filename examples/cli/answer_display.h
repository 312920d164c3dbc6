// An answer on the screen while it arrives.
#pragma once

#include <mm2/parser.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace cli {

/// What begins and ends dimmed text on this stream: nothing where it is no terminal, or where the
/// user has said NO_COLOR.
struct Dim {
  const char *begin, *end;
};
Dim dim_on(std::FILE* stream);

/// Where the parts of an answer go. On a terminal reasoning is dimmed, or between tags. When standard output is a
/// pipe or file it gets the answer only, and the reasoning goes to standard error if that is a
/// terminal.
class AnswerDisplay {
 public:
  /// silent: shows nothing. show_reasoning: standard output gets the reasoning in any case.
  AnswerDisplay(bool silent, bool show_reasoning);

  /// Tells on a terminal how far a long prompt has been read; what comes next takes its place.
  void show_prompt(size_t n_done, size_t n_tokens);
  void show(const mm2_event& event, std::string_view data);
  /// Ends the line and puts colours back, also after an interruption.
  void finish();

 private:
  void hide_prompt();
  void enter_reasoning();
  void leave_reasoning();
  void write(std::string_view text);

  bool silent_, dims_;
  std::FILE* reasoning_to_;  // null: nowhere
  bool in_reasoning_ = false, line_open_ = false, wrote_answer_ = false, skip_newlines_ = false;
  bool prompt_shown_ = false;
};

}  // namespace cli
