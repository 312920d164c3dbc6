#include "line_editor.h"

#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>

#ifdef MM2_CLI_HAS_LIBEDIT
#include <histedit.h>
#include <sys/select.h>

#include <cerrno>
#include <climits>
#include <cwchar>
#endif

#include "interrupt.h"

namespace cli {

#ifdef MM2_CLI_HAS_LIBEDIT

struct LineEditor::State {
  EditLine* edit = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string prompt;

  static char* prompt_of(EditLine* edit) {
    void* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return static_cast<State*>(self)->prompt.data();
  }

  /// One key. It looks at the time between two keys whether Ctrl-C was pressed: a plain read would
  /// miss one that comes just before it.
  static int read_character(EditLine*, wchar_t* character) {
    std::mbstate_t state{};
    for (;;) {
      fd_set input;
      FD_ZERO(&input);
      FD_SET(STDIN_FILENO, &input);
      timeval tenth_of_a_second = {0, 100000};
      const int n_ready = select(STDIN_FILENO + 1, &input, nullptr, nullptr, &tenth_of_a_second);
      if (interrupted()) return -1;
      if (n_ready == 0 || (n_ready < 0 && errno == EINTR)) continue;
      char byte = 0;
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return static_cast<int>(n);
      const size_t used = std::mbrtowc(character, &byte, 1, &state);
      if (used == static_cast<size_t>(-2)) continue;  // a character of several bytes goes on
      if (used != static_cast<size_t>(-1)) return 1;
      state = {};  // no character: skipped
    }
  }

  // Between these the terminal sends what somebody pastes, so that its newlines are no Enter.
  static constexpr const char* kPasteBegins = "\033[200~";
  static constexpr std::string_view kPasteEnds = "\033[201~";

  /// Puts a pasted text into the line, as it is but for the ends of its lines.
  static unsigned char paste(EditLine* edit, int) {
    std::string text;
    std::mbstate_t state{};
    wchar_t character = 0;
    while (!std::string_view(text).ends_with(kPasteEnds)) {
      char bytes[MB_LEN_MAX];
      if (read_character(edit, &character) != 1) return CC_EOF;
      const size_t n = std::wcrtomb(bytes, character, &state);
      if (n != static_cast<size_t>(-1)) text.append(bytes, n);
    }
    text.resize(text.size() - kPasteEnds.size());
    std::string clean;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n' && i > 0 && text[i - 1] == '\r') continue;
      clean += text[i] == '\r' ? '\n' : text[i] == '\t' ? ' ' : text[i];
    }
    return clean.empty() || el_insertstr(edit, clean.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  State() {
    // So that a character of several bytes is one to the cursor.
    if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) {
      std::setlocale(LC_CTYPE, "C.UTF-8");
    }
    edit = el_init("mm2", stdin, stdout, stderr);
    history = history_init();
    ::history(history, &event, H_SETSIZE, 1000);
    ::history(history, &event, H_SETUNIQUE, 1);
    el_set(edit, EL_CLIENTDATA, this);
    el_set(edit, EL_PROMPT, &State::prompt_of);
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_GETCFN, &State::read_character);
    el_set(edit, EL_HIST, ::history, history);
    el_set(edit, EL_BIND, "\033[1~", "ed-move-to-beg", nullptr);
    el_set(edit, EL_BIND, "\033[4~", "ed-move-to-end", nullptr);
    el_set(edit, EL_ADDFN, "mm2-paste", "Insert a pasted text", &State::paste);
    el_set(edit, EL_BIND, kPasteBegins, "mm2-paste", nullptr);
  }
  ~State() {
    history_end(history);
    el_end(edit);
  }

  static void tell_terminal(const char* sequence) {
    std::fputs(sequence, stdout);
    std::fflush(stdout);
  }

  std::optional<std::string> read() {
    el_resize(edit);
    int length = 0;
    // Before the prompt shows: libedit would only do it afterwards, and until then the terminal takes
    // the keys that answer a prompt as its own (an erase would undo half of an arrow).
    el_set(edit, EL_PREP_TERM, 1);
    tell_terminal("\033[?2004h");  // pastes are to be marked
    const char* line = el_gets(edit, &length);
    tell_terminal("\033[?2004l");
    if (line == nullptr || length <= 0) return std::nullopt;
    std::string text(line, length);
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    if (!text.empty()) ::history(history, &event, H_ENTER, text.c_str());
    return text;
  }
};

#else

struct LineEditor::State {
  std::string prompt;
  std::optional<std::string> read() {
    std::fputs(prompt.c_str(), stdout);
    std::fflush(stdout);
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  }
};

#endif

LineEditor::LineEditor() {
  if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) state_ = std::make_unique<State>();
}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  if (state_ != nullptr) {
    state_->prompt = prompt;
    std::string text;
    for (;;) {
      const auto line = state_->read();
      if (!line) return std::nullopt;
      if (line->empty() || line->back() != '\\') return text + *line;
      text.append(*line, 0, line->size() - 1).push_back('\n');
      state_->prompt = "... ";
    }
  }
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

}  // namespace cli
