// Ctrl-C. The signal handler only sets a flag and wakes a thread; that thread interrupts the engine.
#pragma once

#include <mm2/engine.h>

namespace cli {

/// From here on Ctrl-C no longer ends the program at once. The first one is a request, seen by
/// interrupted(); another one before clear_interrupt() ends the program with exit code 5.
void catch_interrupts();

/// Whether Ctrl-C was pressed since clear_interrupt().
bool interrupted();
void clear_interrupt();

/// While one of these lives, Ctrl-C interrupts the step that runs on its engine. One at a time.
class InterruptScope {
 public:
  explicit InterruptScope(mm2_engine* engine);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

}  // namespace cli
