// Ctrl-C while the library works with the interpreter's lock released: Python's own handler only
// notes the signal, and nobody would look at the note before the call returns.
#pragma once

#include <csignal>

#include "core.h"

namespace mm2::python {

/// While it lives on the main thread, SIGINT also interrupts `engine` (may be null) and sets a flag;
/// Python's handler is called as ever. Our handler stays before Python's after the first scope, and
/// outside of scopes only calls it; where the program installs another one, ours is put before that
/// within 50 ms. On other threads, and inside of another scope, it does nothing: Python runs
/// signal handlers on the main thread only.
class InterruptScope {
 public:
  explicit InterruptScope(mm2_engine* engine) noexcept;
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  /// A signal came since the scope began.
  bool signalled() const noexcept;
  /// The same of the scope that the main thread is in now, if it is in one. From any thread.
  static bool main_thread_signalled() noexcept;
  static bool on_main_thread() noexcept;

 private:
  bool active_ = false;
};

}  // namespace mm2::python
