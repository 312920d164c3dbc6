// All layers of a step in one launch, whose blocks of threads stay: what lies between two kernels of
// decode is a boundary here, at which all blocks meet. Same units, cuts and additions, so the same bits.
//
// A block is a warpgroup and a warp with the thread that has weights copied, as in products: attention
// and router are done by the warpgroup as well. The order in which that thread fills the ring is the order
// of the layers: it runs on over boundaries and waits for one only where weights depend on what was
// chosen, before gate and up.
#pragma once

#include "kernels/cuda/decode/layer_steps.h"

namespace mm2::kernels::cuda {

/// Parts of a layer, with a boundary behind each.
enum Phase : int32_t {
  kQkvPhase = 0,
  kAttentionPhase = 1,
  kOPhase = 2,
  kRouterPhase = 3,
  kGateUpPhase = 4,
  kDownPhase = 5
};
constexpr int32_t kPhases = 6;

/// Shared memory of a block, for two of them on a multiprocessor: sm_90 has 228 KiB, of which each block
/// takes one for itself.
constexpr int32_t kResidentShared = 113 << 10;

struct ResidentStep {
  const LayerSteps* layers;  // [n_layers], device memory
  int32_t n_layers;
  // Of shared memory: what a phase works on, the ring.
  int32_t work_bytes, slot_bytes, n_slots;
  uint32_t* met;  // by how many blocks boundaries were reached, all together; 0 before the launch
};

/// Where things lie in shared memory; what phases work on is at 0.
struct ResidentShared {
  int32_t ring, barriers, steps, small, bytes;
};
MM2_HD static inline ResidentShared resident_shared(int32_t work_bytes, int32_t slot_bytes,
                                                    int32_t n_slots) {
  ResidentShared s{};
  s.ring = work_bytes;
  s.steps = (s.ring + n_slots * slot_bytes + 15) / 16 * 16;
  s.barriers = s.steps + static_cast<int32_t>(sizeof(LayerSteps));
  s.small = (s.barriers + (2 * n_slots + 1) * 8 + 15) / 16 * 16;
  s.bytes = s.small + 128;
  return s;
}

/// A row of the router's gate takes several slots, each of whole rounds of the threads that read it.
constexpr int32_t kGateRound = kSmallThreads * 16;
MM2_HD static inline int32_t gate_piece_bytes(int32_t slot_bytes) {
  return slot_bytes / kGateRound * kGateRound;
}

/// Fills in the shared memory that such layers need, of at most n_bytes; false: that is not enough. The
/// host's side.
bool plan_resident(const LayerSteps* layers, int32_t n_layers, int32_t n_bytes, ResidentStep* step);

/// How many blocks of threads the current device can keep, up to blocks_each on each of up to
/// n_multiprocessors; 0: none, or it has no cooperative launches.
cudaError_t resident_blocks(const ResidentStep& step, int32_t blocks_each,
                            int32_t n_multiprocessors, int32_t* n_blocks);

/// Runs all layers. n_blocks: at most what resident_blocks says; any number gives the same bits.
cudaError_t run_resident(const ResidentStep& step, int32_t n_blocks, cudaStream_t stream);

}  // namespace mm2::kernels::cuda
