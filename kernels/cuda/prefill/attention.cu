// A block of threads takes a tile of queries for one KV head: two warpgroups multiply, each for its own
// tokens, and one thread has keys and values copied into a ring that both read.
#include "kernels/cuda/prefill/attention.h"

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/prefill/attention_columns.h"

namespace mm2::kernels::cuda {
namespace {

/// Registers: 168 for each thread at first; 24 and 2 times 240 in the end.
constexpr int kProducerRegisters = 24, kColumnsRegisters = 240;

/// Calls f(unit) for each of the block's units.
template <typename F>
__device__ void each_unit(const PrefillAttention& a, F f) {
  for (int32_t round = 0;; ++round) {
    const int32_t i =
        unit_of_round(round, static_cast<int32_t>(blockIdx.x), static_cast<int32_t>(gridDim.x));
    if (i >= a.n_tiles * a.step.n_kv_heads) return;
    f(i);
  }
}

template <int32_t number, int32_t kDim>
__device__ void copy_tiles(const PrefillAttention& a, const Ring& ring) {
  constexpr int32_t kHalf = tile_half<number, kDim>();
  const AttentionStep& s = a.step;
  const int64_t half = int64_t{s.block_size} * (kHalf / kTilePositions);
  RingPlace place;
  each_unit(a, [&](int32_t unit) {
    const QueryTile tile = tile_of(a, unit);
    const int32_t kv_head = head_of(a, unit), end = tile.first_position + tile.n_tokens;
    for (int32_t start = 0; start < end; start += kTilePositions) {
      const int32_t block = s.blocks[tile.first_block + start / s.block_size];
      const char* keys = s.cache + block * s.block_stride + kv_head * 2 * half +
                         start % s.block_size * (kHalf / kTilePositions);
      mbarrier_wait(ring.empty + place.slot, place.parity ^ 1);
      Mbarrier* full = ring.full + place.slot;
      char* slot = ring.slots + place.slot * ring.slot_bytes;
      mbarrier_arrive_expect(full, static_cast<unsigned>(2 * kHalf));
      bulk_copy(slot, keys, static_cast<unsigned>(kHalf), full);
      bulk_copy(slot + kHalf, keys + half, static_cast<unsigned>(kHalf), full);
      place.next(ring.n_slots);
    }
  });
}

template <int32_t number, int32_t kDim>
__global__ void __launch_bounds__(kTileThreads, 1)
    prefill_attention_kernel(const __grid_constant__ PrefillAttention a) {
  TileShared& shared = *shared_memory<TileShared>();
  const Ring ring = tile_ring<number, kDim>(shared);
  if (threadIdx.x == 0) {
    start_ring(ring, kQueryGroups * kGroupThreads / 32);
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= kQueryGroups * kGroupThreads) {
    leave_registers<kProducerRegisters>();
    if (threadIdx.x == kQueryGroups * kGroupThreads) copy_tiles<number, kDim>(a, ring);
    return;
  }
  take_registers<kColumnsRegisters>();
  Columns<number, kDim> columns(a, shared);
  each_unit(a, [&](int32_t unit) { columns.run(unit); });
}

template <int32_t number, int32_t kDim, typename F>
cudaError_t with_tile(const F& f) {
  return f(prefill_attention_kernel<number, kDim>,
           static_cast<size_t>(tile_shared_bytes<number, kDim>()));
}

/// f(kernel, bytes of shared memory)
template <int32_t number, typename F>
cudaError_t with_kernel(int32_t head_dim, const F& f) {
  switch (head_dim) {
    case 16:
      return with_tile<number, 16>(f);
    case 32:
      return with_tile<number, 32>(f);
    case 64:
      return with_tile<number, 64>(f);
    case 128:
      return with_tile<number, 128>(f);
    default:
      return cudaErrorInvalidValue;
  }
}

template <typename F>
cudaError_t with_kernel_of(int32_t number, int32_t head_dim, const F& f) {
  return number == kE4M3 ? with_kernel<kE4M3>(head_dim, f) : with_kernel<kBF16>(head_dim, f);
}

}  // namespace

cudaError_t allow_prefill_attention(int32_t number, int32_t head_dim) {
  return with_kernel_of(number, head_dim,
                        [](auto kernel, size_t bytes) { return allow_shared(kernel, bytes); });
}

cudaError_t prefill_attention(const PrefillAttention& a, int32_t n_processors,
                              cudaStream_t stream) {
  const int64_t n = int64_t{a.n_tiles} * a.step.n_kv_heads;
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n < n_processors ? n : n_processors));
  l.block = dim3(kTileThreads);
  l.stream = stream;
  return with_kernel_of(a.step.number, a.step.head_dim, [&](auto kernel, size_t bytes) {
    l.shared_bytes = bytes;
    return launch(kernel, l, a);
  });
}

}  // namespace mm2::kernels::cuda
