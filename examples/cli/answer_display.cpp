#include "answer_display.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "json_io.h"

namespace cli {
namespace {

bool has_styles(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(fileno(stream)) && (no_color == nullptr || *no_color == '\0');
}

constexpr size_t kLongPrompt = 1024;  // tokens that take long enough to say so

}  // namespace

Dim dim_on(std::FILE* stream) {
  return has_styles(stream) ? Dim{"\033[2m", "\033[0m"} : Dim{"", ""};
}

AnswerDisplay::AnswerDisplay(bool silent, bool show_reasoning)
    : silent_(silent), dims_(false), reasoning_to_(nullptr) {
  if (isatty(STDOUT_FILENO) || show_reasoning) {
    reasoning_to_ = stdout;
  } else if (isatty(STDERR_FILENO)) {
    reasoning_to_ = stderr;
  }
  dims_ = reasoning_to_ != nullptr && has_styles(reasoning_to_);
}

void AnswerDisplay::show_prompt(size_t n_done, size_t n_tokens) {
  if (silent_ || n_tokens < kLongPrompt || !isatty(STDERR_FILENO)) return;
  const Dim dim = dim_on(stderr);
  std::fprintf(stderr, "\r%s[reading %zu of %zu tokens]%s\033[K", dim.begin, n_done, n_tokens,
               dim.end);
  std::fflush(stderr);
  prompt_shown_ = true;
}

void AnswerDisplay::hide_prompt() {
  if (prompt_shown_) std::fputs("\r\033[K", stderr);
  prompt_shown_ = false;
}

void AnswerDisplay::show(const mm2_event& event, std::string_view data) {
  if (silent_) return;
  hide_prompt();
  if (event.kind == MM2_EVENT_REASONING) {
    if (reasoning_to_ == nullptr) return;
    enter_reasoning();
    std::fwrite(data.data(), 1, data.size(), reasoning_to_);
    std::fflush(reasoning_to_);
    return;
  }
  leave_reasoning();
  switch (event.kind) {
    case MM2_EVENT_TEXT:
      // The model separates parts by newlines that are no part of what it says.
      if (!wrote_answer_ || skip_newlines_) {
        data.remove_prefix(std::min(data.find_first_not_of("\r\n"), data.size()));
        if (data.empty()) return;
      }
      write(data);
      break;
    case MM2_EVENT_CALL_BEGIN:
      if (line_open_) write("\n");
      write("{\"name\": " + to_text(Json(data)) + ", \"arguments\": ");
      break;
    case MM2_EVENT_CALL_ARGUMENTS:
      write(data);
      break;
    case MM2_EVENT_CALL_END:
      write("}\n");
      skip_newlines_ = true;
      break;
    default:
      break;
  }
}

void AnswerDisplay::finish() {
  if (silent_) return;
  hide_prompt();
  leave_reasoning();
  if (line_open_) write("\n");
}

void AnswerDisplay::enter_reasoning() {
  if (in_reasoning_) return;
  in_reasoning_ = true;
  std::fputs(dims_ ? dim_on(reasoning_to_).begin : "<think>\n", reasoning_to_);
}

void AnswerDisplay::leave_reasoning() {
  if (!in_reasoning_) return;
  in_reasoning_ = false;
  std::fputs(dims_ ? dim_on(reasoning_to_).end : "\n</think>", reasoning_to_);
  std::fputs("\n\n", reasoning_to_);
  std::fflush(reasoning_to_);
}

void AnswerDisplay::write(std::string_view text) {
  if (text.empty()) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  wrote_answer_ = true;
  skip_newlines_ = false;
  line_open_ = text.back() != '\n';
}

}  // namespace cli
