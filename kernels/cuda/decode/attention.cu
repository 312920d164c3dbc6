#include "kernels/cuda/decode/attention_chunk.h"

namespace mm2::kernels::cuda {
namespace {

template <int32_t number, int32_t kDim>
__global__ void __launch_bounds__(kAttentionThreads, 1) attention_kernel(AttentionStep s) {
  Attention<number, kDim, kGroups> attention(s, *shared_memory<AttentionShared<kGroups>>(),
                                             static_cast<int32_t>(threadIdx.x));
  ask_units_ahead(s, static_cast<int32_t>(threadIdx.x), false);
  grid_wait();
  grid_go_on();
  attention.run();
}

template <int32_t number>
cudaError_t launch_for(const Launch& l, const AttentionStep& s) {
  switch (s.head_dim) {
    case 16:
      return launch(attention_kernel<number, 16>, l, s);
    case 32:
      return launch(attention_kernel<number, 32>, l, s);
    case 64:
      return launch(attention_kernel<number, 64>, l, s);
    case 128:
      return launch(attention_kernel<number, 128>, l, s);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

cudaError_t run_attention(const AttentionStep& s, int32_t n_blocks, bool overlaps,
                          cudaStream_t stream) {
  static_assert(sizeof(AttentionShared<kGroups>) <= kSharedWithoutAsking);
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n_blocks));
  l.block = dim3(kAttentionThreads);
  l.stream = stream;
  l.shared_bytes = sizeof(AttentionShared<kGroups>);
  l.overlaps = overlaps;
  return s.number == kE4M3 ? launch_for<kE4M3>(l, s) : launch_for<kBF16>(l, s);
}

}  // namespace mm2::kernels::cuda
