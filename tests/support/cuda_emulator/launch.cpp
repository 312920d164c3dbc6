// The scheduler: threads of a block take turns until all are done or none can go on.
#include "cuda_emulator/launch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>

#include "cuda_emulator/cuda_runtime.h"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace cuda_emulator {
namespace {

/// So often every thread may look and find nothing changed before they are stuck.
constexpr int64_t kIdlePasses = 20000;
struct Ended {};

constexpr size_t kGuardBytes = 256;  // behind shared memory

/// Stacks are kept from one launch to the next.
struct Pool {
  std::vector<std::unique_ptr<Fiber>> fibers;
};

Fiber* fiber_of_pool(size_t index) {
  thread_local Pool pool;
  while (pool.fibers.size() <= index) pool.fibers.push_back(std::make_unique<Fiber>());
  return pool.fibers[index].get();
}

}  // namespace

Running*& running() {
  thread_local Running* current = nullptr;
  return current;
}

Running& here() {
  if (running() == nullptr) {
    fprintf(stderr, "cuda_emulator: device code was called outside a launch\n");
    abort();
  }
  return *running();
}

Running::Running(const LaunchConfig& config_, Order order, const std::function<void()>& kernel)
    : config(config_), order_(order), kernel_(kernel) {
  running() = this;
}

Running::~Running() {
  running() = nullptr;
}

void Running::end(const char* why) {
  char where[160];
  const Block& block = *current->block;
  snprintf(where, sizeof(where), " (block %u,%u,%u, thread %u)", block.index[0], block.index[1],
           block.index[2], current->rank);
  if (failure.empty()) failure = std::string(why) + where;
  if (asks_) throw Ended{};  // a question whether a thread may go on is asked by the scheduler
  current->fiber->leave(scheduler, true);
  abort();  // never entered again
}

bool Running::may_go_on(Thread& thread) {
  if (thread.ready == nullptr) return true;
  current = &thread;
  asks_ = true;
  bool yes = false;
  try {
    yes = thread.ready(thread.ready_of);
  } catch (const Ended&) {
  }
  asks_ = false;
  return yes;
}

void Running::wait(bool (*ready)(void*), void* of, const char* what) {
  current->ready = ready;
  current->ready_of = of;
  current->what = what;
  current->fiber->leave(scheduler, false);
}

void Running::entry() {
  Running& run = here();
  run.current->fiber->arrived(run.scheduler);
  run.kernel_();
  run.finish(*run.current);
  run.current->fiber->leave(run.scheduler, true);
}

void Running::finish(Thread& thread) {
  Block& block = *thread.block;
  if (!thread.copies.empty()) end("a thread ends with copies (cp.async) that it did not wait for");
  thread.done = true;
  --block.n_alive;
  ++n_changes;
  open_barrier(block, 0);
}

void Running::resume(Thread& thread) {
  current = &thread;
  const Block& block = *thread.block;
  blockIdx = {block.index[0], block.index[1], block.index[2]};
  const unsigned x = config.block[0], y = config.block[1];
  threadIdx = {thread.rank % x, thread.rank / x % y, thread.rank / (x * y)};
  thread.ready = nullptr;
  thread.fiber->enter(scheduler);
  if (thread.fiber->overflowed() && failure.empty()) failure = "a thread's stack is too small";
}

// One turn for each thread of the block that can go on; whether there was one.
bool Running::pass(Block& block) {
  bool any = false;
  const size_t n = block.threads.size();
  for (size_t i = 0; i < n && failure.empty(); ++i) {
    Thread& thread = block.threads[order_ == kAscending ? i : n - 1 - i];
    if (thread.done) continue;
    if (!may_go_on(thread)) continue;
    any = true;
    resume(thread);
  }
  return any;
}

std::string Running::stuck(const std::vector<Block>& blocks) const {
  std::map<std::string, int> waiting;
  for (const Block& block : blocks) {
    for (const Thread& thread : block.threads) {
      if (!thread.done) ++waiting[thread.what];
    }
  }
  std::string text = "no thread can go on:";
  for (const auto& [what, n] : waiting)
    text.append(" ").append(std::to_string(n)).append(" in ").append(what).append(",");
  text.back() = '.';
  return text;
}

void Running::open_block(Block& block, unsigned index) {
  block.index[0] = index % config.grid[0];
  block.index[1] = index / config.grid[0] % config.grid[1];
  block.index[2] = index / (config.grid[0] * config.grid[1]);
  // Exactly as large as asked for where AddressSanitizer watches, else with bytes that are compared.
#if defined(__SANITIZE_ADDRESS__)
  const size_t guard = 0;
#else
  const size_t guard = kGuardBytes;
#endif
  void* memory = nullptr;
  if (posix_memalign(&memory, 1024, config.shared_bytes + guard + (guard == 0)) != 0) abort();
  block.shared = static_cast<char*>(memory);
  memset(block.shared, 0xFF, config.shared_bytes + guard);
  const unsigned n = config.block[0] * config.block[1] * config.block[2];
  block.threads.resize(n);
  block.meetings.resize((n + 31) / 32);
  block.n_alive = n;
  for (unsigned i = 0; i < n; ++i) {
    block.threads[i].block = &block;
    block.threads[i].rank = i;
  }
}

void Running::close_block(Block& block) {
  if (failure.empty() && !block.copies.empty()) {
    failure = "a block ends with copies to shared memory that nobody waited for";
  }
#if !defined(__SANITIZE_ADDRESS__)
  for (size_t i = 0; i < kGuardBytes; ++i) {
    if (failure.empty() && block.shared[config.shared_bytes + i] != '\xFF') {
      failure = "something was written behind the " + std::to_string(config.shared_bytes) +
                " bytes of shared memory";
    }
  }
#endif
  free(block.shared);
}

void Running::run_blocks(std::vector<Block>& blocks) {
  size_t n_fibers = 0;
  for (Block& block : blocks) {
    for (Thread& thread : block.threads) {
      thread.fiber = fiber_of_pool(n_fibers++);
      thread.fiber->start(entry);
    }
  }
  int64_t n_idle = 0;
  while (failure.empty()) {
    const uint64_t before = n_changes;
    bool alive = false, any = false;
    for (Block& block : blocks) {
      if (block.n_alive == 0) continue;
      alive = true;
      any |= pass(block);
    }
    if (!alive || !failure.empty()) break;
    n_idle = n_changes == before ? n_idle + 1 : 0;
    if (!any || n_idle > kIdlePasses) failure = stuck(blocks);
  }
}

std::string Running::run() {
  blockDim = dim3(config.block[0], config.block[1], config.block[2]);
  gridDim = dim3(config.grid[0], config.grid[1], config.grid[2]);
  const unsigned n_blocks = config.grid[0] * config.grid[1] * config.grid[2];
  const unsigned together = config.cooperative ? n_blocks : 1;
  for (unsigned first = 0; first < n_blocks && failure.empty(); first += together) {
    std::vector<Block> blocks(together);
    for (unsigned i = 0; i < together; ++i) open_block(blocks[i], first + i);
    run_blocks(blocks);
    for (Block& block : blocks) close_block(block);
  }
  return failure;
}

void fail(const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  here().end(text);
}

void wait_until(bool (*ready)(void*), void* of, const char* what) {
  if (!ready(of)) here().wait(ready, of, what);
}

void yield(const char* what) {
  here().wait([](void*) { return true; }, nullptr, what);
}

void progress() {
  ++here().n_changes;
}

}  // namespace cuda_emulator
