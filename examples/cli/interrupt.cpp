#include "interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

#include "errors.h"

namespace cli {
namespace {

// A signal handler has no argument of its own: what it touches has to be global.
std::atomic<int> requests{0};
int wake_pipe[2] = {-1, -1};
std::mutex engine_mutex;
mm2_engine* engine_to_interrupt = nullptr;

void handle_signal(int) {
  const int saved_errno = errno;
  if (requests.fetch_add(1) > 0) _exit(kInterrupted);
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = write(wake_pipe[1], &byte, 1);
  errno = saved_errno;
}

void pass_on_interrupts() {
  char byte;
  for (;;) {
    const ssize_t n = read(wake_pipe[0], &byte, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n != 1) return;
    const std::lock_guard lock(engine_mutex);
    // An interrupt that was taken back in the meantime must not reach the next turn.
    if (requests.load() > 0) mm2_engine_interrupt(engine_to_interrupt);
  }
}

}  // namespace

void catch_interrupts() {
  if (wake_pipe[0] >= 0) return;
  if (pipe(wake_pipe) != 0) {
    throw Failure(kResources, "preparing for Ctrl-C", "no pipe could be made");
  }
  // The thread blocks the signal, so that it always reaches the thread that waits for the user.
  sigset_t interrupt_signal, before;
  sigemptyset(&interrupt_signal);
  sigaddset(&interrupt_signal, SIGINT);
  pthread_sigmask(SIG_BLOCK, &interrupt_signal, &before);
  std::thread(pass_on_interrupts).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);

  struct sigaction action {};
  action.sa_handler = handle_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: a read from the terminal ends with EINTR
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() {
  return requests.load() > 0;
}

void clear_interrupt() {
  requests.store(0);
}

InterruptScope::InterruptScope(mm2_engine* engine) {
  const std::lock_guard lock(engine_mutex);
  engine_to_interrupt = engine;
}

InterruptScope::~InterruptScope() {
  const std::lock_guard lock(engine_mutex);
  engine_to_interrupt = nullptr;
}

}  // namespace cli
