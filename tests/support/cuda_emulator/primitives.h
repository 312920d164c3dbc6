// What the CUDA threads of an emulated launch do with each other: the words in which intrinsics
// (cuda_runtime.h) and the twins of PTX instructions (kernels/cuda/common/ptx*.h) are written. All
// of it is called by a thread of a launch.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>

struct dim3;
struct CUstream_st;

namespace cuda_emulator {

/// Ends the launch, which fails: what the kernel did is undefined on a device.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// Lets the others run until `ready(of)`. It is asked by whoever runs: it must look at memory only.
void wait_until(bool (*ready)(void* of), void* of, const char* what);

template <typename F>
inline void wait_until(F ready, const char* what) {
  wait_until([](void* of) { return (*static_cast<F*>(of))(); }, &ready, what);
}

/// Lets every other thread run once: for loops that look at memory until it changes. A launch in
/// which threads do nothing but this for long has failed.
void yield(const char* what);

/// Something changed that a waiting thread may have been waiting for.
void progress();

void sync_threads();
int sync_threads_count(int value);
/// bar.sync and bar.arrive of barriers 1 to 15, `count` threads in all.
void named_barrier(unsigned id, unsigned count, bool waits);

enum class WarpOp {
  kSync,
  kShuffle,
  kShuffleUp,
  kShuffleDown,
  kShuffleXor,
  kBallot,
  kAdd,
  kMax,
  kMin,
  kOr,
  kAnd
};
/// All lanes of `mask` meet; the result for the caller's.
uint64_t warp(WarpOp op, unsigned mask, uint64_t value, unsigned lane, unsigned width);

/// All lanes of the warp meet; lanes[i] = what lane first + i brought, of n.
void show(const uint32_t (&own)[4], unsigned first, unsigned n, uint32_t (*lanes)[4]);

/// The block's dynamic shared memory.
void* shared_memory();
size_t shared_bytes();
/// Fails unless all of it is the block's shared memory.
void check_shared(const void* at, size_t n_bytes, const char* what);
/// Fails unless all of it lies in one piece of device memory.
void check_device(const void* at, size_t n_bytes, const char* what);

/// mbarrier, 64 bits of shared memory.
void mbarrier_init(uint64_t* barrier, unsigned count);
void mbarrier_arrive(uint64_t* barrier, unsigned count, unsigned transaction_bytes);
bool mbarrier_passed(uint64_t* barrier, unsigned parity);  // does what is pending on it first
void mbarrier_wait(uint64_t* barrier, unsigned parity);
/// A copy that counts at a barrier. It is done when somebody asks for the barrier: who does not ask
/// finds the old bytes.
void copy_later(void* to, const void* from, size_t n_bytes, uint64_t* barrier);
/// cp.async of this thread: done when it waits for the group.
void copy_in_group(void* to, const void* from, size_t n_bytes);
void commit_group();
void wait_groups(unsigned n_left);

/// A launch, as the host asks for it.
struct LaunchConfig {
  unsigned grid[3], block[3];
  size_t shared_bytes;
  CUstream_st* stream;
  bool cooperative;
};
/// cudaErrorNoKernelImageForDevice where kernels that are built for all devices of Settings::built_from, or
/// else for 9.0 alone, do not run on the one of Settings.
int device_has_code(bool built_for_all);
/// Blocks that a multiprocessor holds at once: a device's threads and shared memory; registers are not
/// known here.
int blocks_per_multiprocessor(unsigned n_threads, size_t shared_bytes);
/// Runs it, or keeps it where the stream is being captured. A cudaError_t.
int launch(const LaunchConfig& config, std::function<void()> kernel);

}  // namespace cuda_emulator
