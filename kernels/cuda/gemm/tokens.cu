#include "kernels/cuda/gemm/tokens.h"

#include "kernels/cuda/common/launch.h"
#include "kernels/cuda/common/ptx_pairs.h"

namespace mm2::kernels::cuda {
namespace {

constexpr int kSortThreads = 256, kEach = 4;
constexpr int kSortWarps = kSortThreads / 32;
constexpr int kThreads = 256;

/// The sum of all threads' n, and of those before this one. room: [kSortWarps]. All of the block call it.
struct Sums {
  int32_t before, all;
};
__device__ inline Sums sums_of(int32_t n, int32_t* room) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32),
             warp = static_cast<int32_t>(threadIdx.x / 32);
  int32_t up_to = n;
  for (int32_t lanes = 1; lanes < 32; lanes *= 2) {
    const int32_t other = __shfl_up_sync(~0u, up_to, static_cast<unsigned>(lanes));
    if (lane >= lanes) up_to += other;
  }
  __syncthreads();  // nobody reads the room any more
  if (lane == 31) room[warp] = up_to;
  __syncthreads();
  Sums s{up_to - n, 0};
  for (int32_t i = 0; i < kSortWarps; ++i) {
    if (i < warp) s.before += room[i];
    s.all += room[i];
  }
  return s;
}

/// A block of threads for each expert.
__global__ void __launch_bounds__(kSortThreads)
    count_kernel(const int32_t* ids, int32_t n_pairs, int32_t* counts) {
  const auto expert = static_cast<int32_t>(blockIdx.x);
  int32_t n = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < n_pairs; i += kSortThreads) {
    n += ids[i] == expert ? 1 : 0;
  }
  const Sums s = sums_of(n, shared_memory<int32_t>());
  if (threadIdx.x == 0) counts[expert] = s.all;
}

/// A block of threads for each expert: behind the tiles of those before it, its pairs in their order.
__global__ void __launch_bounds__(kSortThreads)
    place_kernel(const int32_t* ids, int32_t n_pairs, int32_t width, SortedPairs to) {
  int32_t* room = shared_memory<int32_t>();
  const auto expert = static_cast<int32_t>(blockIdx.x);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  int32_t before = 0;
  for (int32_t i = thread; i < expert; i += kSortThreads)
    before += (to.counts[i] + width - 1) / width;
  const int32_t first_tile = sums_of(before, room).all;
  const int32_t n = to.counts[expert], n_tiles = (n + width - 1) / width;
  if (blockIdx.x + 1 == gridDim.x && thread == 0) *to.n_tiles = first_tile + n_tiles;
  for (int32_t i = thread; i < n_tiles; i += kSortThreads) to.tile_expert[first_tile + i] = expert;
  int32_t* slots = to.slots + int64_t{first_tile} * width;
  for (int32_t i = n + thread; i < n_tiles * width; i += kSortThreads) slots[i] = -1;
  int32_t placed = 0;
  for (int32_t i0 = 0; placed < n && i0 < n_pairs; i0 += kSortThreads * kEach) {
    int32_t hits = 0;
    for (int32_t j = 0; j < kEach; ++j) {
      const int32_t i = i0 + thread * kEach + j;
      if (i < n_pairs && ids[i] == expert) hits |= 1 << j;
    }
    const Sums s = sums_of(__popc(static_cast<unsigned>(hits)), room);
    int32_t at = placed + s.before;
    for (int32_t j = 0; j < kEach; ++j) {
      if ((hits >> j & 1) != 0) slots[at++] = i0 + thread * kEach + j;
    }
    placed += s.all;
  }
}

__device__ inline float at_or_zero(const float* x, int64_t k, int64_t n) {
  return k < n ? x[k] : 0.0f;
}

/// A block of threads for each tile and record; a thread rounds 8 columns of a token at once.
__global__ void __launch_bounds__(kThreads) gather_kernel(Gather g) {
  const int64_t tile = blockIdx.x;
  if (g.n_tiles_at != nullptr && tile >= *g.n_tiles_at) return;
  const int64_t n_records = gridDim.y, k0 = int64_t{blockIdx.y} * kRecordCols;
  uint8_t* to =
      g.tiles + tile * tile_bytes(g.width, n_records) + blockIdx.y * tile_record_bytes(g.width);
  constexpr int32_t kChunks = static_cast<int32_t>(kRecordCols) / 8;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < g.width * kChunks; i += kThreads) {
    const int32_t row = i / kChunks, column = i % kChunks * 8;
    const int64_t at = tile * g.width + row;
    const int64_t slot = g.slots != nullptr ? g.slots[at] : at < g.n_tokens ? at : -1;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (slot >= 0) {
      const float* x = g.x + slot / g.top_k * g.n_in;
      const int64_t k = k0 + column;
      if (g.n_in % 4 == 0 && k + 8 <= g.n_in) {
        const float4 low = *reinterpret_cast<const float4*>(x + k);
        const float4 high = *reinterpret_cast<const float4*>(x + k + 4);
        eight = make_uint4(round_to_pair(low.x, low.y), round_to_pair(low.z, low.w),
                           round_to_pair(high.x, high.y), round_to_pair(high.z, high.w));
      } else {
        const auto pair = [&](int64_t j) {
          return round_to_pair(at_or_zero(x, k + j, g.n_in), at_or_zero(x, k + j + 1, g.n_in));
        };
        eight = make_uint4(pair(0), pair(2), pair(4), pair(6));
      }
    }
    *reinterpret_cast<uint4*>(to + place_in_tile(g.width, row, column)) = eight;
  }
}

__global__ void __launch_bounds__(kThreads)
    add_experts_kernel(const float* down, const float* weights, int32_t top_k, int64_t hidden,
                       float* h) {
  const int64_t token = blockIdx.y, k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (k >= hidden) return;
  float sum = 0;
  for (int32_t i = 0; i < top_k; ++i) {
    const int64_t pair = token * top_k + i;
    sum = __fmaf_rn(weights[pair], down[pair * hidden + k], sum);
  }
  h[token * hidden + k] += sum;
}

__global__ void __launch_bounds__(kThreads) add_pieces_kernel(Pieces p) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x, token = blockIdx.y;
  if (row >= p.n_out) return;
  const int64_t piece_numbers = p.n_tokens * p.n_out;
  const float* from = p.partials + token * p.n_out + row;
  float sum = *from;
  for (int32_t i = 1; i < p.n_pieces; ++i) sum += from[i * piece_numbers];
  sum = scaled(p.w, sum);
  const int64_t at = token * p.y_stride + row;
  p.y[at] = p.add != nullptr ? p.add[at] + sum : sum;
}

Launch threads_of(int n, cudaStream_t stream) {
  Launch l{};
  l.block = dim3(static_cast<unsigned>(n));
  l.stream = stream;
  return l;
}

}  // namespace

cudaError_t sort_pairs(const int32_t* ids, int32_t n_pairs, int32_t n_experts, int32_t width,
                       const SortedPairs& to, cudaStream_t stream) {
  Launch l = threads_of(kSortThreads, stream);
  l.grid = dim3(static_cast<unsigned>(n_experts));
  l.shared_bytes = kSortWarps * sizeof(int32_t);
  const cudaError_t error = launch(count_kernel, l, ids, n_pairs, to.counts);
  return error != cudaSuccess ? error : launch(place_kernel, l, ids, n_pairs, width, to);
}

cudaError_t gather_tokens(const Gather& g, cudaStream_t stream) {
  Launch l = threads_of(kThreads, stream);
  l.grid = dim3(static_cast<unsigned>(g.n_tiles), n_groups(g.n_in, kRecordCols));
  return launch(gather_kernel, l, g);
}

cudaError_t add_experts(const float* down, const float* weights, int32_t n_tokens, int32_t top_k,
                        int64_t hidden, float* h, cudaStream_t stream) {
  Launch l = threads_of(kThreads, stream);
  l.grid = dim3(n_groups(hidden, kThreads), static_cast<unsigned>(n_tokens));
  return launch(add_experts_kernel, l, down, weights, top_k, hidden, h);
}

cudaError_t add_pieces(const Pieces& p, cudaStream_t stream) {
  Launch l = threads_of(kThreads, stream);
  l.grid = dim3(n_groups(p.n_out, kThreads), static_cast<unsigned>(p.n_tokens));
  return launch(add_pieces_kernel, l, p);
}

}  // namespace mm2::kernels::cuda
