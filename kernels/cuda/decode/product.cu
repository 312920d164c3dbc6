#include "kernels/cuda/decode/product_consumer.h"

namespace mm2::kernels::cuda {
namespace {

template <typename P>
__global__ void __launch_bounds__(kProductThreads) product_kernel(ProductStep p) {
  char* shared = shared_memory<char>();
  const ProductShared at = product_shared(p.records.bytes, p.cut.piece_records);
  Mbarrier* barriers = reinterpret_cast<Mbarrier*>(shared + at.barriers);
  const Ring ring{shared + at.ring, barriers, barriers + at.n_slots, at.n_slots, at.slot_bytes, 1};
  if (threadIdx.x == 0) {
    start_ring(ring, kConsumers / 32);
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers) {
    if (threadIdx.x != kConsumers) return;
    if (p.task == kGateUpTask) grid_wait();  // the experts are what the kernel before chose
    RingPlace place;
    produce(p, ring, place);
    return;
  }
  grid_wait();
  grid_go_on();
  float* small = reinterpret_cast<float*>(shared + at.small);
  Consumer<OneFormat<P>> consumer{p,      {},    work_of(p), ring,
                                  shared, small, small + 8,  static_cast<int32_t>(threadIdx.x)};
  consumer.run();
}

/// Kernels of one name are one function: sm_90 has 227 KiB for a block.
constexpr size_t kMostShared = 113 << 10;

}  // namespace

cudaError_t run_product(const ProductStep& p, const Decoded& d, int32_t n_blocks, bool overlaps,
                        cudaStream_t stream) {
  const ProductShared shared = product_shared(p.records.bytes, p.cut.piece_records);
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n_blocks));
  l.block = dim3(kProductThreads);
  l.stream = stream;
  l.shared_bytes = static_cast<size_t>(shared.bytes);
  l.overlaps = overlaps;
  cudaError_t error = cudaErrorInvalidValue;
  with_product(d, [&](auto product) { error = launch(product_kernel<decltype(product)>, l, p); });
  return error;
}

cudaError_t prepare_products(const Decoded& d) {
  cudaError_t error = cudaErrorInvalidValue;
  with_product(d, [&](auto product) {
    error = allow_shared(product_kernel<decltype(product)>, kMostShared);
  });
  return error;
}

}  // namespace mm2::kernels::cuda
