#include "kernels/cuda/decode/resident.h"

#include "kernels/cuda/decode/attention_chunk.h"
#include "kernels/cuda/decode/product_consumer.h"
#include "kernels/cuda/decode/router_parts.h"

namespace mm2::kernels::cuda {
namespace {

static_assert(kConsumers == kSmallThreads && kConsumers == kWarpgroup);

/// Multiplies records of any format.
struct AnyFormat {
  Decoded decoded;

  __device__ __forceinline__ void multiply(Wgmma& wgmma, const Records& records, const Ring& ring,
                                           RingPlace& place, const char* x, int32_t n_records,
                                           float (&y)[4]) const {
    with_product(decoded, [&](auto product) {
      multiply_records<decltype(product)>(wgmma, records, ring, place, x, n_records, y);
    });
  }
};

/// A block of threads' shared memory, and what both of its sides know.
struct Block {
  const ResidentStep& s;
  char* work;         // of work_bytes
  LayerSteps& steps;  // of the layer that is worked on
  float* small;
  Ring ring;
  Mbarrier* routed;  // ends a phase when the producer has read the last of a layer's routing

  __device__ static Block at(const ResidentStep& s, char* shared) {
    const ResidentShared at = resident_shared(s.work_bytes, s.slot_bytes, s.n_slots);
    Mbarrier* barriers = reinterpret_cast<Mbarrier*>(shared + at.barriers);
    return {s,
            shared,
            *reinterpret_cast<LayerSteps*>(shared + at.steps),
            reinterpret_cast<float*>(shared + at.small),
            {shared + at.ring, barriers, barriers + s.n_slots, s.n_slots, s.slot_bytes, 1},
            barriers + 2 * s.n_slots};
  }
  /// The ring for records of so many bytes.
  __device__ Ring ring_of(int32_t record_bytes) const {
    Ring of = ring;
    of.per_slot = ring.slot_bytes / record_bytes;
    return of;
  }
  /// What `met` is when all have reached the boundary behind this phase.
  __device__ uint32_t met_after(int32_t layer, int32_t phase) const {
    return static_cast<uint32_t>(layer * kPhases + phase + 1) * gridDim.x;
  }
  /// The experts whose scores the block finds.
  __device__ Share experts(const RouterStep& r) const {
    return share_of(r.n_experts, gridDim.x, blockIdx.x);
  }
};

/// The one thread that has weights copied, for all layers.
__device__ inline void produce_all(const Block& block) {
  const ResidentStep& s = block.s;
  RingPlace place;
  const auto produce_one = [&](const Compiled& p) {
    produce(p.step, block.ring_of(p.step.records.bytes), place);
  };
  MM2_ROLLED
  for (int32_t l = 0; l < s.n_layers; ++l) {
    const LayerSteps& at = s.layers[l];
    produce_one(at.qkv);
    for (int32_t i = 0; i < kAskers; ++i) ask_units_ahead(at.attention, i, true);
    produce_one(at.o);
    const RouterStep& r = at.router;
    const Share experts = block.experts(r);
    const int32_t piece = gate_piece_bytes(s.slot_bytes);
    for (int64_t e = experts.first; e < experts.end; ++e) {
      const char* row =
          r.gate + e / kBlockRows * r.gate_block_bytes + e % kBlockRows * r.gate_row_bytes;
      for (int32_t from = 0; from < r.gate_row_bytes; from += piece) {
        const int32_t left = r.gate_row_bytes - from;
        fill_slot(block.ring, place, row + from,
                  static_cast<unsigned>(left < piece ? left : piece));
      }
    }
    await_grid(s.met, block.met_after(l, kRouterPhase));
    produce_one(at.gate_up);
    produce_one(at.down);
    mbarrier_arrive(block.routed);
  }
}

/// By all consumers, then a barrier of theirs.
__device__ inline void take_steps(const Block& block, int32_t layer, int32_t thread) {
  const uint4* from = reinterpret_cast<const uint4*>(block.s.layers + layer);
  uint4* to = reinterpret_cast<uint4*>(&block.steps);
  constexpr auto kParts = static_cast<int32_t>(sizeof(LayerSteps) / sizeof(uint4));
  for (int32_t i = thread; i < kParts; i += kConsumers) to[i] = from[i];
}

/// The warpgroup that does all the rest.
struct Worker {
  const Block block;
  const int32_t thread;
  RingPlace place;

  __device__ __forceinline__ void multiply(const Compiled& p) {
    Consumer<AnyFormat> consumer{
        p.step,     {p.decoded}, work_of(p.step), block.ring_of(p.step.records.bytes),
        block.work, block.small, block.small + 8, thread,
        place};
    consumer.run();
    place = consumer.place;
  }

  template <int32_t number>
  __device__ __forceinline__ void attend_with() {
    const AttentionStep& s = block.steps.attention;
    const auto run = [&](auto dim) {
      constexpr int32_t kDim = decltype(dim)::value;
      Attention<number, kDim, 1> attention(s, *reinterpret_cast<AttentionShared<1>*>(block.work),
                                           thread);
      attention.run();
    };
    with_head_dim(s.head_dim, run);
  }
  __device__ __forceinline__ void attend() {
    if (block.steps.attention.number == kE4M3) {
      attend_with<kE4M3>();
    } else {
      attend_with<kBF16>();
    }
  }

  __device__ __forceinline__ void route() {
    const RouterStep& r = block.steps.router;
    const Share experts = block.experts(r);
    const Ring& ring = block.ring;
    const int32_t piece = gate_piece_bytes(ring.slot_bytes);
    for (int64_t e = experts.first; e < experts.end; ++e) {
      RingPlace last = place;
      for (int32_t from = 0; from < r.gate_row_bytes; from += piece) {
        await_slot(ring, last);
        last.next(ring.n_slots);
      }
      const auto gate = [&](int32_t k) {
        const int32_t at = k * 4, i = at / piece;
        const int32_t slot = (place.slot + i) % ring.n_slots;
        return reinterpret_cast<const float*>(ring.slots + slot * ring.slot_bytes + at - i * piece);
      };
      dot_rows(r, gate, block.small, static_cast<int32_t>(e), [] { sync_consumers(); });
      for (int32_t from = 0; from < r.gate_row_bytes; from += piece) leave_slot(ring, place);
    }
    choose_if_last(r, gridDim.x, reinterpret_cast<uint32_t*>(block.work),
                   reinterpret_cast<int32_t*>(block.small + 4), [] { sync_consumers(); });
  }

  /// All blocks have done the phase. The next layer's arguments come while they are waited for.
  __device__ void meet(int32_t layer, int32_t phase) {
    sync_consumers();
    if (thread == 0) {
      // Whoever chooses next writes over what the producer reads, even if it finds nothing to do there.
      if (phase == kDownPhase) mbarrier_wait(block.routed, static_cast<unsigned>(layer) & 1u);
      tell_grid(block.s.met);
    }
    if (phase == kDownPhase) take_steps(block, layer + 1, thread);
    if (thread == 0) await_grid(block.s.met, block.met_after(layer, phase));
    sync_consumers();
  }

  __device__ __forceinline__ void work_on(int32_t phase) {
    const LayerSteps& steps = block.steps;
    if (phase == kAttentionPhase) {
      attend();
    } else if (phase == kRouterPhase) {
      route();
    } else {
      multiply(phase == kQkvPhase      ? steps.qkv
               : phase == kOPhase      ? steps.o
               : phase == kGateUpPhase ? steps.gate_up
                                       : steps.down);
    }
  }
};

__global__ void __launch_bounds__(kProductThreads, 2) resident_kernel(ResidentStep s) {
  char* shared = shared_memory<char>();
  if (threadIdx.x == 0) {
    const Block block = Block::at(s, shared);
    start_ring(block.ring, kConsumers / 32);
    mbarrier_init(block.routed, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers) {
    if (threadIdx.x == kConsumers) produce_all(Block::at(s, shared));
    return;
  }
  take_steps(Block::at(s, shared), 0, static_cast<int32_t>(threadIdx.x));
  sync_consumers();
  RingPlace place;
  const int32_t n = s.n_layers * kPhases;
  // All phases have one body; none of them leaves anything in registers while another runs.
  MM2_ROLLED
  for (int32_t turn = 0; turn < n; ++turn) {
    Worker worker{Block::at(s, shared + zero_anew()), static_cast<int32_t>(thread_anew()), place};
    worker.work_on(turn % kPhases);
    if (turn + 1 < n) worker.meet(turn / kPhases, turn % kPhases);
    place = worker.place;
  }
}

}  // namespace

bool plan_resident(const LayerSteps* layers, int32_t n_layers, int32_t n_bytes,
                   ResidentStep* step) {
  int32_t work = sizeof(AttentionShared<1>), slot = kGateRound, row = 0;
  const auto most = [](int32_t& x, int32_t other) { x = x > other ? x : other; };
  for (int32_t l = 0; l < n_layers; ++l) {
    const LayerSteps& at = layers[l];
    for (const Compiled* p : {&at.qkv, &at.o, &at.gate_up, &at.down}) {
      most(work, p->step.cut.piece_records * 2 * kXTileBytes);
      most(slot, p->step.records.bytes);
    }
    most(work, at.router.n_experts * 4);
    most(row, at.router.gate_row_bytes);
  }
  step->work_bytes = static_cast<int32_t>(round_up(work, 1024));
  step->slot_bytes = slot;
  step->n_slots = kMostSlots;
  const auto bytes = [&] {
    return resident_shared(step->work_bytes, step->slot_bytes, step->n_slots).bytes;
  };
  while (step->n_slots > 0 && bytes() > n_bytes) --step->n_slots;
  // A row of the gate is in the ring as a whole; two slots make one of them a copy ahead.
  return step->n_slots >= 2 && divide_up(row, gate_piece_bytes(slot)) <= step->n_slots;
}

cudaError_t resident_blocks(const ResidentStep& step, int32_t blocks_each,
                            int32_t n_multiprocessors, int32_t* n_blocks) {
  *n_blocks = 0;
  int device = 0, cooperative = 0, all = 0, held = 0;
  const auto bytes =
      static_cast<size_t>(resident_shared(step.work_bytes, step.slot_bytes, step.n_slots).bytes);
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device);
  }
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&all, cudaDevAttrMultiProcessorCount, device);
  }
  if (error != cudaSuccess || cooperative == 0) return error;
  error = allow_shared(resident_kernel, bytes);
  if (error == cudaSuccess)
    error = blocks_that_stay(resident_kernel, kProductThreads, bytes, &held);
  if (error != cudaSuccess) return error;
  *n_blocks = (held < blocks_each ? held : blocks_each) *
              (all < n_multiprocessors ? all : n_multiprocessors);
  return cudaSuccess;
}

cudaError_t run_resident(const ResidentStep& step, int32_t n_blocks, cudaStream_t stream) {
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n_blocks));
  l.block = dim3(kProductThreads);
  l.stream = stream;
  l.shared_bytes =
      static_cast<size_t>(resident_shared(step.work_bytes, step.slot_bytes, step.n_slots).bytes);
  l.cooperative = true;
  return launch(resident_kernel, l, step);
}

}  // namespace mm2::kernels::cuda
