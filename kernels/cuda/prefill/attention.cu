#include "kernels/cuda/prefill/attention.h"

#include "kernels/cuda/decode/attention_sums.h"
#include "kernels/cuda/decode/attention_tile.h"

namespace mm2::kernels::cuda {
namespace {

constexpr int32_t kThreads = 128;  // a warpgroup
constexpr int32_t kN = kQueryColumns, kOwn = kN / 2, kPairs = kN / 8;
constexpr int32_t kColumnBytes = kN * kTileRowBytes;
constexpr int32_t kGroupPositions = kChunkPositions / 4;

/// Of each column: greatest score and sum of weights of some positions.
struct Tops {
  float greatest[kN], total[kN];
};

struct Shared {
  char q[2 * kColumnBytes];             // of 128 columns of components
  char weights[2 * kColumnBytes];       // upper parts, then lower ones
  float y[2 * kOwn * kThreads];         // of the chunk, own numbers of each thread
  float totals[2 * kPairs * kThreads];  // of the group, own numbers of each thread
  Tops group, chunk, super, all;
  int32_t position[kN];  // of the column's token, -1 = none
  float fade[kN], of_later[kN];
  float warps[4][kN];
};

template <int32_t number, int32_t kDim>
class TileAttention {
 public:
  __device__ TileAttention(const PrefillAttention& attention, Shared& shared)
      : a(attention),
        s(attention.step),
        to(shared),
        thread(static_cast<int32_t>(threadIdx.x)),
        queries(s.n_heads / s.n_kv_heads),
        super_y(a.sums + int64_t{blockIdx.x} * 4 * kOwn * kThreads + thread),
        all_y(super_y + 2 * kOwn * kThreads) {}

  __device__ void run(const QueryTile& tile_, int32_t kv_head_) {
    tile = tile_;
    kv_head = kv_head_;
    stage_queries();
    const int32_t last = tile.first_position + tile.n_tokens - 1;
    const int32_t n_chunks = last / kChunkPositions + 1;
    for (int32_t chunk = 0; chunk < n_chunks; ++chunk) {
      add_chunk(chunk * kChunkPositions, last);
      if (n_chunks == 1) break;
      const bool ends = chunk % kSuperChunks == kSuperChunks - 1 || chunk == n_chunks - 1;
      add(to.super, super_y, to.chunk, to.y + thread, chunk % kSuperChunks == 0);
      if (ends && n_chunks > kSuperChunks) {
        add(to.all, all_y, to.super, super_y, chunk < kSuperChunks);
      }
    }
    if (n_chunks == 1) return write(to.chunk, to.y + thread);
    if (n_chunks <= kSuperChunks) return write(to.super, super_y);
    write(to.all, all_y);
  }

 private:
  __device__ int32_t column_of(int i) const { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

  __device__ void stage_queries() {
    __syncthreads();  // nobody reads those of the tile before
    for (int32_t i = thread; i < kN * kQueryWidth / 8; i += kThreads) {
      const int32_t c = i / (kQueryWidth / 8), column = i % (kQueryWidth / 8) * 8;
      const int32_t token = c / queries;
      uint4 eight{0, 0, 0, 0};
      if (token < tile.n_tokens) {
        const int64_t head =
            int64_t{tile.first_token + token} * s.n_heads + kv_head * queries + c % queries;
        eight = *reinterpret_cast<const uint4*>(a.q + head * kQueryWidth + column);
      }
      char* at = to.q + column / 64 * kColumnBytes +
                 tile_byte(static_cast<uint32_t>(c), static_cast<uint32_t>(column % 64));
      *reinterpret_cast<uint4*>(at) = eight;
    }
    if (thread < kN) {
      const int32_t token = thread / queries;
      to.position[thread] = token < tile.n_tokens ? tile.first_position + token : -1;
    }
    fence_async();
    __syncthreads();
  }

  __device__ const char* keys_at(int32_t position) const {
    constexpr int64_t kRow = kDim * (number == kE4M3 ? 1 : 2);
    const int32_t block = s.blocks[tile.first_block + position / s.block_size];
    return s.cache + block * s.block_stride +
           (kv_head * 2 * int64_t{s.block_size} + position % s.block_size) * kRow;
  }

  __device__ float score_factor() const {
    const float scale = number == kE4M3 ? s.k_scales[kv_head] : 1.0f;
    return __fdiv_rn(1.44269504f, __fsqrt_rn(static_cast<float>(kDim))) * scale;
  }

  /// to.group.greatest of the tile and those before it, to.fade from the one before to it.
  __device__ void find_greatest(const float (&score)[kOwn]) {
    MM2_UNROLL
    for (int i = 0; i < kOwn; i += 4) {
      MM2_UNROLL
      for (int odd = 0; odd < 2; ++odd) {
        float x = fmaxf(score[i + odd], score[i + 2 + odd]);
        for (int lanes = 4; lanes < 32; lanes *= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
        if (thread % 32 < 4) to.warps[thread / 32][column_of(i + odd)] = x;
      }
    }
    __syncthreads();
    if (thread < kN) {
      const float before = to.group.greatest[thread];
      float greatest = before;
      for (int w = 0; w < 4; ++w) greatest = fmaxf(greatest, to.warps[w][thread]);
      to.fade[thread] = exp2_fast(before - greatest);
      to.group.greatest[thread] = greatest;
    }
    __syncthreads();
  }

  /// 64 positions from `start` on; none is looked at that is not some token's.
  __device__ void add_tile(int32_t start, int32_t last, float factor, float (&y)[2][kOwn]) {
    constexpr int kSteps = score_steps<number>(kDim);
    const char* keys = keys_at(start);
    const char* values = keys + int64_t{s.block_size} * kDim * (number == kE4M3 ? 1 : 2);
    float score[kOwn];
    {
      uint32_t k[kSteps][4];
      load_keys<number, kDim>(keys, last - start, thread, k);
      const uint64_t q = k_major(tile_address(to.q));
      mma.fence();
      MM2_UNROLL
      for (int i = 0; i < kSteps; ++i) {
        const uint64_t at = q + static_cast<uint64_t>(i / 4) * (kColumnBytes / 16) +
                            static_cast<uint64_t>(i % 4) * kStepKMajor;
        mma.template multiply<kN>(score, k[i], at, i > 0);
      }
      mma.commit();
      mma.template wait<0>(score);
    }
    uint32_t v[2][4][4];
    load_values<number, kDim>(values, last - start, thread, v);
    const int32_t row = thread / 32 * 16 + thread % 32 / 4;
    MM2_UNROLL
    for (int i = 0; i < kOwn; ++i) {
      const int32_t seen = to.position[column_of(i)] - start;
      score[i] = row + i / 2 % 2 * 8 <= seen ? score[i] * factor : kLowestScore;
    }
    find_greatest(score);
    weigh(score, start, row, y);
    fence_async();
    __syncthreads();
    const uint64_t p = k_major(tile_address(to.weights));
    mma.fence();
    MM2_UNROLL
    for (int step = 0; step < 4; ++step) {
      MM2_UNROLL
      for (int i = 0; i < 4; ++i) {  // both tiles of components, upper parts, then lower ones
        const uint64_t at = p + static_cast<uint64_t>(step) * kStepKMajor +
                            static_cast<uint64_t>(i / 2) * (kColumnBytes / 16);
        mma.template multiply<kN>(y[i % 2], v[i % 2][step], at, true);
      }
    }
    mma.commit();
    mma.template wait<0>(y[0]);
    mma.template wait<0>(y[1]);
  }

  /// Scores into weights, in shared memory as two numbers of BF16; fades what was there.
  __device__ void weigh(const float (&score)[kOwn], int32_t start, int32_t row,
                        float (&y)[2][kOwn]) {
    MM2_UNROLL
    for (int i = 0; i < kOwn; i += 4) {
      MM2_UNROLL
      for (int odd = 0; odd < 2; ++odd) {
        const int32_t c = column_of(i + odd);
        const float fade = to.fade[c], greatest = to.group.greatest[c];
        const int32_t seen = to.position[c] - start;
        float& total = to.totals[(i / 2 + odd) * kThreads + thread];
        float sum = total * fade;
        MM2_UNROLL
        for (int lower = 0; lower < 2; ++lower) {
          const int32_t position = row + lower * 8;
          const int reg = i + lower * 2 + odd;
          y[0][reg] *= fade;
          y[1][reg] *= fade;
          const float e = position <= seen ? exp2_fast(score[reg] - greatest) : 0.0f;
          const uint16_t high = f32_to_bf16(e);
          const uint16_t low = f32_to_bf16(e - bf16_to_f32(high));
          sum += bf16_to_f32(high) + bf16_to_f32(low);
          const uint32_t at = tile_byte(static_cast<uint32_t>(c), static_cast<uint32_t>(position));
          *reinterpret_cast<uint16_t*>(to.weights + at) = high;
          *reinterpret_cast<uint16_t*>(to.weights + kColumnBytes + at) = low;
        }
        total = sum;
      }
    }
  }

  /// The chunk from `first` on: its four groups, ascending.
  __device__ void add_chunk(int32_t first, int32_t last) {
    const float factor = score_factor();
    MM2_ROLLED
    for (int32_t start = first; start < first + kChunkPositions && start <= last;
         start += kGroupPositions) {
      float y[2][kOwn];
      MM2_UNROLL
      for (int i = 0; i < kOwn; ++i) y[0][i] = y[1][i] = 0.0f;
      MM2_UNROLL
      for (int i = 0; i < 2 * kPairs; ++i) to.totals[i * kThreads + thread] = 0.0f;
      if (thread < kN) to.group.greatest[thread] = kLowestScore;
      __syncthreads();
      MM2_ROLLED
      for (int32_t at = start; at < start + kGroupPositions && at <= last; at += kTilePositions) {
        add_tile(at, last, factor, y);
      }
      finish_group();
      const bool is_first = start == first;
      find_factors(to.chunk, to.group, is_first);
      MM2_UNROLL
      for (int i = 0; i < 2 * kOwn; ++i) {
        float& sum = to.y[i * kThreads + thread];
        const float own = y[i / kOwn][i % kOwn];
        const int32_t c = column_of(i % kOwn);
        sum = is_first ? own : __fmaf_rn(own, to.of_later[c], sum * to.fade[c]);
      }
      __syncthreads();
    }
  }

  /// to.group.total: over the lanes, then over the warps.
  __device__ void finish_group() {
    MM2_UNROLL
    for (int i = 0; i < 2 * kPairs; ++i) {
      float total = to.totals[i * kThreads + thread];
      for (int lanes = 4; lanes < 32; lanes *= 2) total += __shfl_xor_sync(~0u, total, lanes);
      if (thread % 32 < 4) to.warps[thread / 32][column_of(i / 2 * 4 + i % 2)] = total;
    }
    __syncthreads();
    if (thread < kN) {
      const auto& warps = to.warps;
      to.group.total[thread] =
          warps[0][thread] + warps[1][thread] + warps[2][thread] + warps[3][thread];
    }
  }

  /// Tops of both, and what each side's sums are multiplied by. add_sums() for each column.
  __device__ void find_factors(Tops& sum, const Tops& later, bool is_first) {
    if (thread < kN) {
      if (is_first) {
        sum.greatest[thread] = later.greatest[thread];
        sum.total[thread] = later.total[thread];
      } else {
        const float greatest = fmaxf(sum.greatest[thread], later.greatest[thread]);
        const float fade = exp2_fast(sum.greatest[thread] - greatest);
        const float of_later = exp2_fast(later.greatest[thread] - greatest);
        sum.total[thread] = __fmaf_rn(later.total[thread], of_later, sum.total[thread] * fade);
        sum.greatest[thread] = greatest;
        to.fade[thread] = fade;
        to.of_later[thread] = of_later;
      }
    }
    __syncthreads();
  }

  /// What comes later onto a sum; numbers of each thread, kThreads apart.
  __device__ void add(Tops& sum, float* sum_y, const Tops& later, const float* later_y,
                      bool is_first) {
    find_factors(sum, later, is_first);
    MM2_ROLLED
    for (int i = 0; i < 2 * kOwn; ++i) {
      const int32_t c = column_of(i % kOwn);
      const float own = later_y[i * kThreads];
      float& one = sum_y[i * kThreads];
      one = is_first ? own : __fmaf_rn(own, to.of_later[c], one * to.fade[c]);
    }
    __syncthreads();
  }

  __device__ void write(const Tops& tops, const float* y) {
    const float scale = number == kE4M3 ? s.v_scales[kv_head] : 1.0f;
    MM2_ROLLED
    for (int i = 0; i < 2 * kOwn; ++i) {
      const int32_t c = column_of(i % kOwn), token = c / queries;
      const int32_t row = thread / 32 * 16 + thread % 32 / 4 + i % kOwn / 2 % 2 * 8;
      const int32_t d = component_of_row(row, i / kOwn);
      if (token >= tile.n_tokens || d >= kDim) continue;
      const int64_t head =
          int64_t{tile.first_token + token} * s.n_heads + kv_head * queries + c % queries;
      s.y[head * kDim + d] = f32_to_bf16(y[i * kThreads] * __fdiv_rn(scale, tops.total[c]));
    }
  }

  const PrefillAttention& a;
  const AttentionStep& s;
  Shared& to;
  const int32_t thread, queries;
  float *super_y, *all_y;
  QueryTile tile = {};
  int32_t kv_head = 0;
  Wgmma mma;
};

template <int32_t number, int32_t kDim>
__global__ void __launch_bounds__(kThreads, 2) prefill_attention_kernel(PrefillAttention a) {
  TileAttention<number, kDim> attention(a, *shared_memory<Shared>());
  const int32_t n_kv_heads = a.step.n_kv_heads;
  for (auto i = static_cast<int32_t>(blockIdx.x); i < a.n_tiles * n_kv_heads;
       i += static_cast<int32_t>(gridDim.x)) {
    attention.run(a.tiles[i / n_kv_heads], i % n_kv_heads);
  }
}

template <int32_t number, typename F>
cudaError_t with_kernel(int32_t head_dim, const F& f) {
  switch (head_dim) {
    case 16:
      return f(prefill_attention_kernel<number, 16>);
    case 32:
      return f(prefill_attention_kernel<number, 32>);
    case 64:
      return f(prefill_attention_kernel<number, 64>);
    case 128:
      return f(prefill_attention_kernel<number, 128>);
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
                        [](auto kernel) { return allow_shared(kernel, sizeof(Shared)); });
}

cudaError_t prefill_attention(const PrefillAttention& a, int32_t n_processors,
                              cudaStream_t stream) {
  const int32_t n = a.n_tiles * a.step.n_kv_heads, most = attention_blocks(n_processors);
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n < most ? n : most));
  l.block = dim3(kThreads);
  l.stream = stream;
  l.shared_bytes = sizeof(Shared);
  return with_kernel_of(a.step.number, a.step.head_dim,
                        [&](auto kernel) { return launch(kernel, l, a); });
}

}  // namespace mm2::kernels::cuda
