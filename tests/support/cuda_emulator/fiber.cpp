#include "cuda_emulator/fiber.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__)
// Saves what a function must keep on the stack it leaves and takes it from the one it enters.
extern "C" void mm2_cuda_emulator_switch(void** from, void* to);
asm(R"(
.text
.globl mm2_cuda_emulator_switch
.hidden mm2_cuda_emulator_switch
.type mm2_cuda_emulator_switch, @function
mm2_cuda_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size mm2_cuda_emulator_switch, .-mm2_cuda_emulator_switch
)");
#endif

namespace cuda_emulator {
namespace {

constexpr uint64_t kMark = 0x5AFE57ACC0DE5AFEu;  // at the far end of each stack

void switch_to(Context& from, Context& to, bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack_bottom,
                                 to.stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.thread, 0);
#endif
  (void)for_good;
#if defined(__x86_64__)
  mm2_cuda_emulator_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
}

}  // namespace

Fiber::Fiber() : stack_(static_cast<char*>(malloc(kStackBytes))) {
  memcpy(stack_, &kMark, sizeof(kMark));
  context_.stack_bottom = stack_;
  context_.stack_bytes = kStackBytes;
#if defined(__SANITIZE_THREAD__)
  context_.thread = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(context_.thread);
#endif
  free(stack_);
}

void Fiber::start(void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_, kStackBytes);  // a launch that failed left its frames there
#endif
#if defined(__x86_64__)
  // Entered by `ret` from a stack that looks as if `entry` had been called: 8 below a multiple of 16.
  void** top = reinterpret_cast<void**>(stack_ + kStackBytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context_.stack_pointer = top;
#else
  getcontext(&context_.context);
  context_.context.uc_stack.ss_sp = stack_;
  context_.context.uc_stack.ss_size = kStackBytes;
  context_.context.uc_link = nullptr;
  makecontext(&context_.context, entry, 0);
#endif
  context_.fake_stack = nullptr;
}

void Fiber::enter(Context& scheduler) {
#if defined(__SANITIZE_THREAD__)
  scheduler.thread = __tsan_get_current_fiber();
#endif
  switch_to(scheduler, context_, false);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
#endif
}

void Fiber::arrived(Context& scheduler) {
  (void)scheduler;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(context_.fake_stack, &scheduler.stack_bottom,
                                  &scheduler.stack_bytes);
#endif
}

void Fiber::leave(Context& scheduler, bool for_good) {
  switch_to(context_, scheduler, for_good);
  arrived(scheduler);
}

bool Fiber::overflowed() const {
  return memcmp(stack_, &kMark, sizeof(kMark)) != 0;
}

}  // namespace cuda_emulator
