// PTX instructions as functions, each with a twin that does the same on the emulator; the PTX ISA
// manual is what both are written from. Barriers lie in shared memory; addresses there are 32 bits.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

namespace mm2::kernels::cuda {

/// mbarrier: a phase ends when all arrivals and all bytes expected have come. The first phase has
/// parity 0.
using Mbarrier = uint64_t;

#if defined(MM2_CUDA_EMULATED)

inline void mbarrier_init(Mbarrier* barrier, unsigned count) {
  cuda_emulator::mbarrier_init(barrier, count);
}
inline void fence_mbarrier_init() {}
inline void mbarrier_arrive(Mbarrier* barrier) {
  cuda_emulator::mbarrier_arrive(barrier, 1, 0);
}
inline void mbarrier_arrive_expect(Mbarrier* barrier, unsigned n_bytes) {
  cuda_emulator::mbarrier_arrive(barrier, 1, n_bytes);
}
inline bool mbarrier_try_wait(Mbarrier* barrier, unsigned parity) {
  return cuda_emulator::mbarrier_passed(barrier, parity);
}
inline void mbarrier_wait(Mbarrier* barrier, unsigned parity) {
  cuda_emulator::mbarrier_wait(barrier, parity);
}
inline void bulk_copy(void* shared, const void* global, unsigned n_bytes, Mbarrier* barrier) {
  cuda_emulator::copy_later(shared, global, n_bytes, barrier);
}
inline void bulk_copy_once(void* shared, const void* global, unsigned n_bytes, Mbarrier* barrier) {
  cuda_emulator::copy_later(shared, global, n_bytes, barrier);
}
inline void prefetch_l2(const void* global, unsigned n_bytes) {
  cuda_emulator::check_device(global, n_bytes, "a prefetch");
}
inline void fence_async() {}
inline void named_sync(unsigned id, unsigned count) {
  cuda_emulator::named_barrier(id, count, true);
}
inline void named_arrive(unsigned id, unsigned count) {
  cuda_emulator::named_barrier(id, count, false);
}
inline void copy16(void* shared, const void* global) {
  cuda_emulator::copy_in_group(shared, global, 16);
}
inline void copy16_or_zero(void* shared, const void* global, bool copies) {
  cuda_emulator::copy_in_group(shared, copies ? global : nullptr, 16);
}
inline void copy_commit() {
  cuda_emulator::commit_group();
}
template <int n_left>
inline void copy_wait() {
  cuda_emulator::wait_groups(n_left);
}
inline uint32_t load_acquire(const uint32_t* at) {
  cuda_emulator::yield("load_acquire");
  return *at;
}
inline void store_release(uint32_t* at, uint32_t value) {
  *at = value;
  cuda_emulator::progress();
}
inline uint32_t add_acq_rel(uint32_t* at, uint32_t value) {
  const uint32_t before = *at;
  *at = before + value;
  cuda_emulator::progress();
  return before;
}
inline void grid_wait() {}
inline void grid_go_on() {}
inline uint32_t thread_anew() {
  return threadIdx.x;
}
inline uint32_t zero_anew() {
  return 0;
}
template <int n>
inline void take_registers() {}
template <int n>
inline void leave_registers() {}

#else

__device__ inline uint32_t shared_address(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

/// Initialises it for `count` arrivals in each phase. fence_mbarrier_init, then a barrier of the
/// block, before anybody uses it.
__device__ inline void mbarrier_init(Mbarrier* barrier, unsigned count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
               : "memory");
}
__device__ inline void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void mbarrier_arrive(Mbarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// Arrives and tells how many bytes of bulk copies belong to this phase.
__device__ inline void mbarrier_arrive_expect(Mbarrier* barrier, unsigned n_bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(n_bytes)
      : "memory");
}

/// Whether the phase of this parity has ended; may wait a while for it.
__device__ inline bool mbarrier_try_wait(Mbarrier* barrier, unsigned parity) {
  uint32_t passed;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(passed)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return passed != 0;
}
__device__ inline void mbarrier_wait(Mbarrier* barrier, unsigned parity) {
  while (!mbarrier_try_wait(barrier, parity)) {
  }
}

/// n_bytes, a multiple of 16, between addresses that are multiples of 16; counts at the barrier.
__device__ inline void bulk_copy(void* shared, const void* global, unsigned n_bytes,
                                 Mbarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(__cvta_generic_to_global(global)), "r"(n_bytes), "r"(shared_address(barrier))
      : "memory");
}
/// The same for what is read once: the first to leave the second-level cache.
__device__ inline void bulk_copy_once(void* shared, const void* global, unsigned n_bytes,
                                      Mbarrier* barrier) {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1], "
      "%2, [%3], %4;" ::"r"(shared_address(shared)),
      "l"(__cvta_generic_to_global(global)), "r"(n_bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
/// Asks for n_bytes, a multiple of 16, to be in the second-level cache soon.
__device__ inline void prefetch_l2(const void* global, unsigned n_bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(global)),
               "r"(n_bytes)
               : "memory");
}

/// Between ordinary writes to shared memory and copies or tensor cores that read or overwrite it:
/// in each thread that wrote, before the barrier.
__device__ inline void fence_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Barriers 1 to 15 of `count` threads, whole warps: those that wait and those that only arrive.
__device__ inline void named_sync(unsigned id, unsigned count) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}
__device__ inline void named_arrive(unsigned id, unsigned count) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(count) : "memory");
}

/// 16 bytes to shared memory, done when the thread waits for the group that it commits.
__device__ inline void copy16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global))
               : "memory");
}
__device__ inline void copy16_or_zero(void* shared, const void* global, bool copies) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(copies ? 16 : 0)
               : "memory");
}
__device__ inline void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most n_left of the groups that this thread committed are not done.
template <int n_left>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n_left) : "memory");
}

/// Flags and counters between blocks.
__device__ inline uint32_t load_acquire(const uint32_t* at) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
               : "=r"(value)
               : "l"(__cvta_generic_to_global(at))
               : "memory");
  return value;
}
__device__ inline void store_release(uint32_t* at, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(at)), "r"(value)
               : "memory");
}
__device__ inline uint32_t add_acq_rel(uint32_t* at, uint32_t value) {
  uint32_t before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(at)), "r"(value)
               : "memory");
  return before;
}

/// Of launches that overlap: what the kernel before it wrote can be read after grid_wait; grid_go_on
/// lets the next kernel start.
__device__ inline void grid_wait() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ inline void grid_go_on() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

/// threadIdx.x and 0, of which the compiler does not know that they are the same each time: what is
/// computed from them in a loop is not computed before it and kept in registers.
__device__ inline uint32_t thread_anew() {
  uint32_t thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}
__device__ inline uint32_t zero_anew() {
  uint32_t zero;
  asm volatile("mov.u32 %0, 0;" : "=r"(zero));
  return zero;
}

/// A warpgroup's registers for each thread from here on, a multiple of 8: more than the kernel began with,
/// which it waits for, or fewer. All of its threads call it, at one place.
template <int n>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
__device__ inline void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}

#endif

/// Of blocks of a cooperative launch. One thread tells what its block has written (a barrier of those that
/// wrote comes before); one thread waits until so many have told (a barrier of those that read follows).
/// The counter only grows.
__device__ inline void tell_grid(uint32_t* counter) {
  __threadfence();
  add_acq_rel(counter, 1);
}
__device__ inline void await_grid(const uint32_t* counter, uint32_t wanted) {
  while (load_acquire(counter) - wanted > 0x7FFFFFFFu) {
  }
}

/// All blocks of a cooperative launch meet. `counter` is 0 at the first meeting and grows by the
/// number of blocks at each: turn counts them from 0. The whole block calls it.
__device__ inline void grid_barrier(uint32_t* counter, uint32_t turn) {
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    const uint32_t n = gridDim.x * gridDim.y * gridDim.z;
    tell_grid(counter);
    await_grid(counter, n * (turn + 1));
  }
  __syncthreads();
}

/// After a block of threads has left something: true for the last of n to do so, which finds all of it.
/// said: in shared memory. What sync() does: all its threads meet.
template <typename Sync>
__device__ inline bool is_last(uint32_t* counter, int32_t n, uint32_t* said, Sync sync) {
  __threadfence();
  sync();
  if (threadIdx.x == 0) {
    *said = add_acq_rel(counter, 1) == static_cast<uint32_t>(n) - 1 ? 1 : 0;
    if (*said != 0) *counter = 0;
  }
  sync();
  if (*said == 0) return false;
  __threadfence();
  return true;
}

}  // namespace mm2::kernels::cuda
