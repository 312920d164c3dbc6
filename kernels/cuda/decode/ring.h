// Records of weights on their way into shared memory: a ring of slots that one thread fills with bulk
// copies and the consumers' warps empty.
#pragma once

#include "kernels/cuda/common/ptx.h"

namespace mm2::kernels::cuda {

constexpr int32_t kRingBytes = 64 << 10;
constexpr int32_t kMostSlots = 16;

struct Ring {
  char* slots;
  Mbarrier* full;   // [n_slots]
  Mbarrier* empty;  // [n_slots]
  int32_t n_slots, slot_bytes;
  int32_t per_slot = 1;  // records of a piece that one slot holds
};

/// Slots for records of so many bytes: at least 4, where they are of at most 16 KiB.
MM2_HD static inline int32_t n_slots_of(int32_t record_bytes) {
  const int32_t n = kRingBytes / record_bytes;
  return n < kMostSlots ? n : kMostSlots;
}

/// One side's walk around the ring.
struct RingPlace {
  int32_t slot = 0;
  uint32_t parity = 0;

  __device__ void next(int32_t n_slots) {
    if (++slot < n_slots) return;
    slot = 0;
    parity ^= 1;
  }
};

/// By one thread; then fence_mbarrier_init and a barrier of the block.
__device__ inline void start_ring(const Ring& ring, unsigned n_consumer_warps) {
  for (int32_t i = 0; i < ring.n_slots; ++i) {
    mbarrier_init(ring.full + i, 1);
    mbarrier_init(ring.empty + i, n_consumer_warps);
  }
}

/// The producer: waits for a slot and has a record copied into it.
__device__ inline void fill_slot(const Ring& ring, RingPlace& place, const void* from,
                                 unsigned n_bytes) {
  mbarrier_wait(ring.empty + place.slot, place.parity ^ 1);
  mbarrier_arrive_expect(ring.full + place.slot, n_bytes);
  bulk_copy_once(ring.slots + place.slot * ring.slot_bytes, from, n_bytes, ring.full + place.slot);
  place.next(ring.n_slots);
}

/// A consumer: the record of its next slot, when it is there.
__device__ inline const char* await_slot(const Ring& ring, const RingPlace& place) {
  mbarrier_wait(ring.full + place.slot, place.parity);
  return ring.slots + place.slot * ring.slot_bytes;
}
/// A consumer's warp has read all that it wants of the slot.
__device__ inline void leave_slot(const Ring& ring, RingPlace& place) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) mbarrier_arrive(ring.empty + place.slot);
  place.next(ring.n_slots);
}

}  // namespace mm2::kernels::cuda
