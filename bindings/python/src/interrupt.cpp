#include "interrupt.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace mm2::python {
namespace {

// A signal handler has nothing but globals to look at. Only the main thread writes them.
std::atomic<mm2_engine*> running{nullptr};
std::atomic<bool> came{false};
struct sigaction before;

static_assert(std::atomic<mm2_engine*>::is_always_lock_free);

void on_interrupt(int number, siginfo_t* info, void* context) {
  came.store(true);
  mm2_engine_interrupt(running.load());  // allowed in handlers; null is fine
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(number, info, context);
  } else {
    before.sa_handler(number);
  }
}

bool in_scope = false;  // of the main thread alone

}  // namespace

bool InterruptScope::on_main_thread() noexcept {
  static thread_local const bool is_main = syscall(SYS_gettid) == getpid();
  return is_main;
}

InterruptScope::InterruptScope(mm2_engine* engine) noexcept {
  if (!on_main_thread() || in_scope) return;
  if (sigaction(SIGINT, nullptr, &before) != 0) return;
  if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) return;
  came.store(false);
  running.store(engine);
  struct sigaction ours = before;
  ours.sa_sigaction = on_interrupt;
  ours.sa_flags |= SA_SIGINFO;
  installed_ = in_scope = sigaction(SIGINT, &ours, nullptr) == 0;
}

InterruptScope::~InterruptScope() {
  if (!installed_) return;
  sigaction(SIGINT, &before, nullptr);
  running.store(nullptr);
  came.store(false);
  in_scope = false;
}

bool InterruptScope::signalled() const noexcept {
  return installed_ && came.load();
}

bool InterruptScope::main_thread_signalled() noexcept {
  return came.load();
}

}  // namespace mm2::python
