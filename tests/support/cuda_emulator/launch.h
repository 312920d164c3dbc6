// One running launch: its blocks, warps and threads. Inside the emulator only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda_emulator/emulator.h"
#include "cuda_emulator/fiber.h"
#include "cuda_emulator/primitives.h"

namespace cuda_emulator {

struct Block;

/// Copies that a thread has started: done when it waits for them.
struct GroupCopy {
  void* to;
  const void* from;
  size_t n_bytes;
  int64_t group;
};

struct Thread {
  Fiber* fiber = nullptr;
  Block* block = nullptr;
  unsigned rank = 0;  // in the block
  bool done = false;
  // What it waits for, null = nothing.
  bool (*ready)(void*) = nullptr;
  void* ready_of = nullptr;
  const char* what = "";
  uint64_t result = 0;  // of a meeting of its warp
  // What it showed its warp: the others read one while it may be writing the other.
  uint32_t shown[2][4] = {};
  unsigned n_shown = 0;
  int64_t group = 0;  // of copies that is being filled
  std::vector<GroupCopy> copies;
};

/// A barrier of the block.
struct Barrier {
  unsigned count = 0;  // of the threads that it waits for; 0: no thread has come yet
  unsigned arrived = 0;
  uint64_t generation = 0;
  int sum = 0, last_sum = 0;  // of what threads of __syncthreads_count bring
};

/// Lanes of a warp that have come to one operation.
struct Meeting {
  WarpOp op;
  unsigned mask, arrived;
  uint64_t values[32];
  unsigned lanes[32], widths[32];
};

struct LaterCopy {
  void* to;
  const void* from;
  size_t n_bytes;
  uint64_t* barrier;
};

struct Block {
  unsigned index[3];
  std::vector<Thread> threads;
  unsigned n_alive = 0;
  Barrier barriers[16];                        // 0 is that of __syncthreads
  std::vector<std::vector<Meeting>> meetings;  // of each warp
  std::vector<LaterCopy> copies;
  char* shared = nullptr;
};

/// The launch that this operating-system thread runs.
class Running {
 public:
  Running(const LaunchConfig& config, Order order, const std::function<void()>& kernel);
  ~Running();

  /// Empty where it went well, else why not.
  std::string run();

  const LaunchConfig config;
  Thread* current = nullptr;
  Context scheduler;
  uint64_t n_changes = 0;  // progress() was called
  std::string failure;

  [[noreturn]] void end(const char* why);
  void wait(bool (*ready)(void*), void* of, const char* what);
  static void entry();

 private:
  void open_block(Block& block, unsigned index);
  void close_block(Block& block);
  void run_blocks(std::vector<Block>& blocks);
  bool pass(Block& block);
  bool may_go_on(Thread& thread);
  void resume(Thread& thread);
  void finish(Thread& thread);
  std::string stuck(const std::vector<Block>& blocks) const;

  const Order order_;
  bool asks_ = false;
  const std::function<void()>& kernel_;
};

/// Null where none runs.
Running*& running();
/// The thread that runs; ends the process's test with a message where no launch runs.
Running& here();

/// Looks whether a barrier of `block` has everybody: threads that are gone are not waited for at 0.
void open_barrier(Block& block, unsigned id);

}  // namespace cuda_emulator
