// The product of a warpgroup: D[64, N] (+)= A[64, 16] B[16, N], BF16 in, F32 out, D in registers, A in
// registers or shared memory, B in shared memory (fragments.h says where each number lies).
//
// All 128 threads of the warpgroup call each function alike. multiply() only begins: between it and the
// wait for its group nobody may touch its registers or its tiles. What one thread wrote into shared
// memory is seen by the tensor core after fence_async() (ptx.h) of that thread and a barrier.
// Bits: element [m, n] depends on row m of A, column n of B and its own D alone, not on N.
#pragma once

#include <stdint.h>

#include "kernels/cuda/common/fragments.h"

#if defined(MM2_CUDA_EMULATED)
#include "kernels/cuda/common/wgmma_emulated.h"
#else

namespace mm2::kernels::cuda {

// clang-format off
#define MM2_REGISTERS_0 "%0,%1,%2,%3"
#define MM2_REGISTERS_8 MM2_REGISTERS_0 ",%4,%5,%6,%7"
#define MM2_REGISTERS_16 MM2_REGISTERS_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define MM2_REGISTERS_32 MM2_REGISTERS_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define MM2_REGISTERS_48 MM2_REGISTERS_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define MM2_REGISTERS_64 MM2_REGISTERS_48 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// clang-format on
#define MM2_OF_4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define MM2_OF_8(i) MM2_OF_4(i), MM2_OF_4((i) + 4)
#define MM2_OF_16(i) MM2_OF_8(i), MM2_OF_8((i) + 8)
#define MM2_OF_32(i) MM2_OF_16(i), MM2_OF_16((i) + 16)
#define MM2_OF_48(i) MM2_OF_32(i), MM2_OF_16((i) + 32)
#define MM2_OF_64(i) MM2_OF_32(i), MM2_OF_32((i) + 32)
// R0.. are the numbers of the operands behind D: inline assembly has no other names for them.
#define MM2_WGMMA(N, LIST, OF, R0, R1, R2, R3, R4, R5, R6)                                       \
  template <>                                                                                    \
  struct WgmmaOf<N> {                                                                            \
    template <int kTransposed>                                                                   \
    static __device__ __forceinline__ void run(float (&d)[N / 2], const uint32_t (&a)[4],        \
                                               uint64_t b, uint32_t accumulates) {               \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #R5                                      \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" LIST       \
                   "}, {%" #R0 ",%" #R1 ",%" #R2 ",%" #R3 "}, %" #R4 ", p, 1, 1, %" #R6 ";\n}\n" \
                   : OF(0)                                                                       \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulates),       \
                     "n"(kTransposed));                                                          \
    }                                                                                            \
    template <int kTransposedA, int kTransposedB>                                                \
    static __device__ __forceinline__ void run(float (&d)[N / 2], uint64_t a, uint64_t b,        \
                                               uint32_t accumulates) {                           \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #R2                                      \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" LIST       \
                   "}, %" #R0 ", %" #R1 ", p, 1, 1, %" #R3 ", %" #R4 ";\n}\n"                    \
                   : OF(0)                                                                       \
                   : "l"(a), "l"(b), "r"(accumulates), "n"(kTransposedA), "n"(kTransposedB));    \
    }                                                                                            \
  }

namespace detail {
template <int kN>
struct WgmmaOf;
MM2_WGMMA(8, MM2_REGISTERS_0, MM2_OF_4, 4, 5, 6, 7, 8, 9, 10);
MM2_WGMMA(16, MM2_REGISTERS_8, MM2_OF_8, 8, 9, 10, 11, 12, 13, 14);
MM2_WGMMA(32, MM2_REGISTERS_16, MM2_OF_16, 16, 17, 18, 19, 20, 21, 22);
MM2_WGMMA(64, MM2_REGISTERS_32, MM2_OF_32, 32, 33, 34, 35, 36, 37, 38);
MM2_WGMMA(96, MM2_REGISTERS_48, MM2_OF_48, 48, 49, 50, 51, 52, 53, 54);
MM2_WGMMA(128, MM2_REGISTERS_64, MM2_OF_64, 64, 65, 66, 67, 68, 69, 70);
}  // namespace detail
#undef MM2_WGMMA

/// The products that a warpgroup has begun. An object of its own in each thread, empty on the device.
class Wgmma {
 public:
  /// Before the first multiply() after other code wrote registers that it takes.
  __device__ __forceinline__ void fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  }
  __device__ __forceinline__ void commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  }
  /// Until at most kGroups of the committed groups run.
  template <int kGroups>
  __device__ __forceinline__ void wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
  }
  /// The same for who reads d next, which one of the groups that have run wrote: the compiler, which
  /// sees no connection, may otherwise read it before the wait.
  template <int kGroups, int kNumbers>
  __device__ __forceinline__ void wait(float (&d)[kNumbers]) {
    wait<kGroups>();
#pragma unroll
    for (int i = 0; i < kNumbers; ++i) asm volatile("" : "+f"(d[i])::"memory");
  }

  /// A in registers; B K-major, or MN-major. Without `accumulates` D begins at 0.
  template <int kN, bool kMnMajorB = false>
  __device__ __forceinline__ void multiply(float (&d)[kN / 2], const uint32_t (&a)[4], uint64_t b,
                                           bool accumulates) {
    detail::WgmmaOf<kN>::template run<kMnMajorB ? 1 : 0>(d, a, b, accumulates ? 1u : 0u);
  }

  /// A in shared memory.
  template <int kN, bool kMnMajorA = false, bool kMnMajorB = false>
  __device__ __forceinline__ void multiply_shared(float (&d)[kN / 2], uint64_t a, uint64_t b,
                                                  bool accumulates) {
    detail::WgmmaOf<kN>::template run<kMnMajorA ? 1 : 0, kMnMajorB ? 1 : 0>(d, a, b,
                                                                            accumulates ? 1u : 0u);
  }
};

/// What a descriptor takes for an address.
__device__ __forceinline__ uint32_t tile_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

}  // namespace mm2::kernels::cuda
#endif
