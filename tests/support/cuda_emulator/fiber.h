// One CUDA thread's stack, and switching to it and back. Fibers stay on the operating-system thread
// that made them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuda_emulator {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = size_t{512} << 10;
#else
constexpr size_t kStackBytes = size_t{128} << 10;
#endif

/// Where a stopped flow of control goes on.
struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* fake_stack = nullptr;          // AddressSanitizer's
  const void* stack_bottom = nullptr;  // of the flow itself
  size_t stack_bytes = 0;
  void* thread = nullptr;  // ThreadSanitizer's
};

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// From now on the fiber runs `entry`, which never returns: it leaves for good with `leaves`.
  void start(void (*entry)());
  /// From the scheduler to the fiber; returns when it comes back.
  void enter(Context& scheduler);
  /// From the fiber to the scheduler; `for_good`: never to be entered again without start.
  void leave(Context& scheduler, bool for_good);
  /// First thing in `entry`.
  void arrived(Context& scheduler);
  bool overflowed() const;

 private:
  Context context_;
  char* stack_;
};

}  // namespace cuda_emulator
