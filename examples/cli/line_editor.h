// What the user says: edited and with a history on a terminal, a line as it is from a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace cli {

class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// The next line without its end, or nothing at the end of input and after Ctrl-C (interrupted()
  /// tells which). The prompt is shown on terminals only. There, what is pasted is one text with its
  /// newlines until Enter is pressed, and a line that ends in a backslash goes on with the next.
  std::optional<std::string> read(const std::string& prompt);
  /// Whether a person sits at the other end.
  bool interactive() const { return state_ != nullptr; }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cli
