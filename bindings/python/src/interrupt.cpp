#include "interrupt.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

namespace mm2::python {
namespace {

// A signal handler has nothing but globals to look at. Only the main thread writes them.
std::atomic<mm2_engine*> running{nullptr};
std::atomic<bool> in_scope{false};
std::atomic<bool> came{false};
struct sigaction before;  // Python's, while ours is installed

static_assert(std::atomic<mm2_engine*>::is_always_lock_free);

void on_interrupt(int number, siginfo_t* info, void* context) {
  if (in_scope.load()) came.store(true);
  mm2_engine_interrupt(running.load());  // allowed in handlers; null is fine
  if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) return;
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(number, info, context);
  } else {
    before.sa_handler(number);
  }
}

/// Puts ours before the handler that there is; false where there is none to go before.
bool install() {
  struct sigaction now;
  if (sigaction(SIGINT, nullptr, &now) != 0) return false;
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_interrupt) return true;
  if (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN) return false;
  before = now;
  struct sigaction ours = now;
  ours.sa_sigaction = on_interrupt;
  ours.sa_flags |= SA_SIGINFO;
  return sigaction(SIGINT, &ours, nullptr) == 0;
}

/// install(), but not before every step: it costs microseconds, a hundredth of a small model's step.
bool installed() {
  using Clock = std::chrono::steady_clock;
  constexpr auto kAgain = std::chrono::milliseconds(50);
  static bool is_installed = false;
  static Clock::time_point checked;
  const Clock::time_point now = Clock::now();
  if (checked == Clock::time_point() || now - checked > kAgain) {
    is_installed = install();
    checked = now;
  }
  return is_installed;
}

}  // namespace

bool InterruptScope::on_main_thread() noexcept {
  static thread_local const bool is_main = syscall(SYS_gettid) == getpid();
  return is_main;
}

InterruptScope::InterruptScope(mm2_engine* engine) noexcept {
  if (!on_main_thread() || in_scope.load() || !installed()) return;
  came.store(false);
  running.store(engine);
  in_scope.store(active_ = true);
}

InterruptScope::~InterruptScope() {
  if (!active_) return;
  in_scope.store(false);
  running.store(nullptr);
  came.store(false);
}

bool InterruptScope::signalled() const noexcept {
  return active_ && came.load();
}

bool InterruptScope::main_thread_signalled() noexcept {
  return came.load();
}

}  // namespace mm2::python
