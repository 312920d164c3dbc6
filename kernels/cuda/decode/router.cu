// A block of threads for each expert; the last one to be done chooses.
#include "kernels/cuda/decode/router_parts.h"

namespace mm2::kernels::cuda {
namespace {

__global__ void __launch_bounds__(kSmallThreads, 4) router_kernel(RouterStep s) {
  char* shared = shared_memory<char>();
  const float* gate = reinterpret_cast<const float*>(shared);
  Mbarrier* arrived = reinterpret_cast<Mbarrier*>(shared + s.gate_row_bytes);
  float* room = reinterpret_cast<float*>(arrived + 1);
  int32_t* last = reinterpret_cast<int32_t*>(room + 4);
  uint32_t* choosers = reinterpret_cast<uint32_t*>(shared + s.gate_row_bytes + 64);
  const auto e = static_cast<int32_t>(blockIdx.x);
  if (threadIdx.x == 0) {
    mbarrier_init(arrived, 1);
    fence_mbarrier_init();
    const auto bytes = static_cast<unsigned>(s.gate_row_bytes);
    mbarrier_arrive_expect(arrived, bytes);
    const int64_t at = e / kBlockRows * s.gate_block_bytes + e % kBlockRows * s.gate_row_bytes;
    bulk_copy_once(shared, s.gate + at, bytes, arrived);
  }
  __syncthreads();
  mbarrier_wait(arrived, 0);
  grid_wait();
  grid_go_on();
  const auto sync = [] { __syncthreads(); };
  dot_rows(
      s, [gate](int32_t k) { return gate + k; }, room, e, sync);
  choose_if_last(s, gridDim.x, choosers, last, sync);
}

/// A block of threads for each token.
__global__ void __launch_bounds__(kSmallThreads, 4) begin_kernel(BeginStep s) {
  grid_wait();
  grid_go_on();
  const auto t = static_cast<int32_t>(blockIdx.x);
  for (int32_t i = t * kSmallThreads + static_cast<int32_t>(threadIdx.x); i < s.n_counters;
       i += kDecodeTokens * kSmallThreads) {
    s.counters[i] = 0;
  }
  if (t >= s.input->n_tokens) return;
  const int32_t in_step = s.input->base + t;
  const int64_t row = int64_t{s.tokens[in_step]} * s.hidden;
  const auto* halves = static_cast<const uint16_t*>(s.embedding);
  for (auto k = static_cast<int32_t>(threadIdx.x); k < s.hidden; k += kSmallThreads) {
    float x;
    if (s.number == kF32) {
      x = static_cast<const float*>(s.embedding)[row + k];
    } else {
      x = s.number == kBF16 ? bf16_to_f32(halves[row + k]) : f16_to_f32(halves[row + k]);
    }
    s.h[int64_t{in_step} * s.hidden + k] = x;
  }
  const int32_t n = s.rotary_dim / 2;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < n; i += kSmallThreads) {
    float* rope = s.rope + t * s.rotary_dim + i;
    cos_and_sin(s.input->positions[t] * s.half_turns[i], rope, rope + n);
  }
}

/// A block of threads for each row. x - x is 0 for finite numbers only.
__global__ void __launch_bounds__(kSmallThreads, 4) end_kernel(EndStep s) {
  const DeviceRow& row = s.rows[blockIdx.x];
  const int64_t first = int64_t{row.first_token} * s.hidden;
  const int64_t n = int64_t{row.n_tokens} * s.hidden;
  int wrong = 0;
  for (int64_t i = threadIdx.x; i < n; i += kSmallThreads) {
    const float x = s.h[first + i];
    wrong |= x - x == 0.0f ? 0 : 1;
  }
  wrong = __syncthreads_or(wrong);
  if (threadIdx.x == 0) s.row_results[blockIdx.x] = wrong != 0 ? kRowNotFinite : kRowDone;
}

Launch small_launch(int32_t n_blocks, bool overlaps, cudaStream_t stream) {
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n_blocks));
  l.block = dim3(kSmallThreads);
  l.stream = stream;
  l.overlaps = overlaps;
  return l;
}

}  // namespace

cudaError_t run_begin(const BeginStep& s, bool overlaps, cudaStream_t stream) {
  return launch(begin_kernel, small_launch(kDecodeTokens, overlaps, stream), s);
}

cudaError_t run_router(const RouterStep& s, bool overlaps, cudaStream_t stream) {
  Launch l = small_launch(s.n_experts, overlaps, stream);
  l.shared_bytes = static_cast<size_t>(router_shared(s.gate_row_bytes, s.n_experts));
  return launch(router_kernel, l, s);
}

cudaError_t run_end(const EndStep& s, int32_t n_rows, cudaStream_t stream) {
  return launch(end_kernel, small_launch(n_rows, false, stream), s);
}

}  // namespace mm2::kernels::cuda
