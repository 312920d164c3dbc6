#include "line_editor.h"

#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <iostream>

#ifdef MM2_CLI_HAS_LIBEDIT
#include <histedit.h>
#endif

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

  State() {
    std::setlocale(LC_CTYPE, "");  // so that a character of several bytes is one to the cursor
    edit = el_init("mm2", stdin, stdout, stderr);
    history = history_init();
    history_w(history, event);
    el_set(edit, EL_CLIENTDATA, this);
    el_set(edit, EL_PROMPT, &State::prompt_of);
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_SIGNAL, 1);  // the terminal is put back in order when Ctrl-C ends the line
    el_set(edit, EL_HIST, ::history, history);
    el_set(edit, EL_BIND, "\033[1~", "ed-move-to-beg", nullptr);
    el_set(edit, EL_BIND, "\033[4~", "ed-move-to-end", nullptr);
  }
  static void history_w(History* of, HistEvent& event) {
    ::history(of, &event, H_SETSIZE, 1000);
    ::history(of, &event, H_SETUNIQUE, 1);
  }
  ~State() {
    history_end(history);
    el_end(edit);
  }

  std::optional<std::string> read() {
    int length = 0;
    const char* line = el_gets(edit, &length);
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
    return state_->read();
  }
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

}  // namespace cli
