#include "kernels/cuda/prefill/rows.h"

#include "kernels/cuda/decode/math.h"
#include "kernels/cuda/decode/rows.h"
#include "kernels/cuda/gemm/tiles.h"

namespace mm2::kernels::cuda {
namespace {

constexpr int32_t kWarps = kSmallThreads / 32;

__global__ void __launch_bounds__(kSmallThreads) begin_rows_kernel(Rows r) {
  const int64_t t = blockIdx.x;
  const int64_t row = int64_t{r.tokens[t]} * r.hidden;
  const auto* halves = static_cast<const uint16_t*>(r.embedding);
  for (auto k = static_cast<int32_t>(threadIdx.x); k < r.hidden; k += kSmallThreads) {
    float x;
    if (r.number == kF32) {
      x = static_cast<const float*>(r.embedding)[row + k];
    } else {
      x = r.number == kBF16 ? bf16_to_f32(halves[row + k]) : f16_to_f32(halves[row + k]);
    }
    r.h[t * r.hidden + k] = x;
  }
  const int32_t n = r.rotary_dim / 2;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < n; i += kSmallThreads) {
    float* rope = r.rope + t * r.rotary_dim + i;
    cos_and_sin(r.positions[t] * r.half_turns[i], rope, rope + n);
  }
}

__global__ void __launch_bounds__(kSmallThreads) norm_rows_kernel(Norm n) {
  const int64_t i = blockIdx.x;
  const float* h = n.h + int64_t{n.rows != nullptr ? n.rows[i] : static_cast<int32_t>(i)} * n.width;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const float sum = sum_of_squares(h, n.width, thread, kSmallThreads, shared_memory<float>(),
                                   [] { __syncthreads(); });
  const float factor = norm_factor(sum, n.width, n.eps);
  for (int32_t k = thread * 4; k < n.width; k += kSmallThreads * 4) {
    const float4 x = *reinterpret_cast<const float4*>(h + k);
    const float4 w = *reinterpret_cast<const float4*>(n.weight + k);
    *reinterpret_cast<float4*>(n.y + i * n.width + k) =
        make_float4(x.x * factor * w.x, x.y * factor * w.y, x.z * factor * w.z, x.w * factor * w.w);
  }
}

/// Shared memory of a block that chooses for kRouterTokens tokens.
struct Scores {
  float* x;      // [kRouterTokens, hidden]
  float* parts;  // [n_experts, kWarps, kRouterTokens]
  float* all;    // [kRouterTokens, n_experts] after the sigmoid
};

/// Each warp's part of the scores of all experts. A token's products are added as decode's router adds
/// them: by thread, then lanes, then warps.
__device__ inline void add_parts(const Choice& c, const Scores& s, int32_t n_tokens) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  for (int32_t e = 0; e < c.n_experts; ++e) {
    const float* gate = reinterpret_cast<const float*>(
        c.gate + e / kBlockRows * c.gate_block_bytes + e % kBlockRows * c.gate_row_bytes);
    float sums[kRouterTokens] = {};
    for (int32_t k = thread * 4; k < c.hidden; k += kSmallThreads * 4) {
      const float4 w = *reinterpret_cast<const float4*>(gate + k);
      MM2_UNROLL
      for (int t = 0; t < kRouterTokens; ++t) {
        const float4 x = *reinterpret_cast<const float4*>(s.x + t * c.hidden + k);
        sums[t] = __fmaf_rn(x.x, w.x, sums[t]);
        sums[t] = __fmaf_rn(x.y, w.y, sums[t]);
        sums[t] = __fmaf_rn(x.z, w.z, sums[t]);
        sums[t] = __fmaf_rn(x.w, w.w, sums[t]);
      }
    }
    MM2_UNROLL
    for (int t = 0; t < kRouterTokens; ++t) {
      const float sum = sum_warp(sums[t]);
      if (thread % 32 == 0) s.parts[(e * kWarps + thread / 32) * kRouterTokens + t] = sum;
    }
  }
  __syncthreads();
  for (int32_t i = thread; i < n_tokens * c.n_experts; i += kSmallThreads) {
    const int32_t t = i / c.n_experts, e = i % c.n_experts;
    const float* parts = s.parts + e * kWarps * kRouterTokens + t;
    const float all =
        parts[0] + parts[kRouterTokens] + parts[2 * kRouterTokens] + parts[3 * kRouterTokens];
    s.all[i] = sigmoid_fast(all);
  }
  __syncthreads();
}

struct Best {
  float score;
  int32_t id;
};
__device__ inline Best better(const Best& a, const Best& b) {
  return b.score > a.score || (b.score == a.score && b.id < a.id) ? b : a;
}

/// One warp, one token. A score that is no number counts as the least.
__device__ inline void choose(const Choice& c, const float* scores, int64_t token) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  uint32_t taken = 0;  // bit i: expert 32 i + lane
  for (int32_t n = 0; n < c.top_k; ++n) {
    Best best{-INFINITY, INT32_MAX};
    for (int32_t i = 0; i * 32 + lane < c.n_experts; ++i) {
      if ((taken >> i & 1u) != 0) continue;
      const float x = scores[i * 32 + lane] + c.bias[i * 32 + lane];
      best = better(best, {x == x ? x : -INFINITY, i * 32 + lane});
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      const float score = __shfl_xor_sync(~0u, best.score, lanes);
      best = better(best, {score, __shfl_xor_sync(~0u, best.id, lanes)});
    }
    if (best.id % 32 == lane) taken |= 1u << (best.id / 32);
  }
  int32_t* ids = c.ids + token * c.top_k;
  float sum = 0;
  int32_t before = 0;
  for (int32_t i = 0; i * 32 < c.n_experts; ++i) {
    const unsigned chosen = __ballot_sync(~0u, static_cast<int>(taken >> i & 1u));
    for (unsigned left = chosen; left != 0; left &= left - 1) {
      sum += scores[i * 32 + __ffs(static_cast<int>(left)) - 1];
    }
    if ((taken >> i & 1u) != 0) ids[before + __popc(chosen & ((1u << lane) - 1))] = i * 32 + lane;
    before += __popc(chosen);
  }
  __syncwarp();
  if (lane < c.top_k) c.weights[token * c.top_k + lane] = __fdiv_rn(scores[ids[lane]], sum);
}

__global__ void __launch_bounds__(kSmallThreads) choose_kernel(Choice c) {
  Scores s{};
  s.x = shared_memory<float>();
  s.parts = s.x + int64_t{kRouterTokens} * c.hidden;
  s.all = s.parts + int64_t{kRouterTokens} * kWarps * c.n_experts;
  const int64_t first = int64_t{blockIdx.x} * kRouterTokens;
  const int64_t left = c.n_tokens - first;
  const auto n = static_cast<int32_t>(left < kRouterTokens ? left : kRouterTokens);
  for (auto i = static_cast<int32_t>(threadIdx.x) * 4; i < kRouterTokens * c.hidden;
       i += kSmallThreads * 4) {
    float4 x = make_float4(0, 0, 0, 0);
    if (i < n * c.hidden) x = *reinterpret_cast<const float4*>(c.x + first * c.hidden + i);
    *reinterpret_cast<float4*>(s.x + i) = x;
  }
  __syncthreads();
  add_parts(c, s, n);
  const auto t = static_cast<int32_t>(threadIdx.x / 32);
  if (t < n) choose(c, s.all + t * c.n_experts, first + t);
}

__global__ void __launch_bounds__(kSmallThreads)
    judge_kernel(const float* h, int32_t hidden, const DeviceRow* rows, int32_t* row_results) {
  const DeviceRow row = rows[blockIdx.x];
  const int64_t first = int64_t{row.first_token} * hidden, n = int64_t{row.n_tokens} * hidden;
  int wrong = 0;
  for (int64_t i = threadIdx.x; i < n; i += kSmallThreads) {
    const float x = h[first + i];
    wrong |= x - x == 0.0f ? 0 : 1;
  }
  wrong = __syncthreads_or(wrong);
  if (threadIdx.x == 0) row_results[blockIdx.x] = wrong != 0 ? kRowNotFinite : kRowDone;
}

/// A block of threads for each tile and record.
__global__ void __launch_bounds__(kSmallThreads)
    pack_halves_kernel(const uint16_t* x, int32_t n_tokens, int64_t n_in, int32_t width,
                       uint8_t* tiles) {
  const int64_t tile = blockIdx.x, record = blockIdx.y, n_records = gridDim.y;
  uint8_t* to = tiles + tile * tile_bytes(width, n_records) + record * tile_record_bytes(width);
  constexpr int32_t kChunks = static_cast<int32_t>(kRecordCols) / 8;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < width * kChunks; i += kSmallThreads) {
    const int32_t row = i / kChunks, column = i % kChunks * 8;
    const int64_t token = tile * width + row, k = record * kRecordCols + column;
    uint4 eight = make_uint4(0, 0, 0, 0);
    if (token < n_tokens && k < n_in) eight = *reinterpret_cast<const uint4*>(x + token * n_in + k);
    *reinterpret_cast<uint4*>(to + place_in_tile(width, row, column)) = eight;
  }
}

Launch rows_launch(int64_t n_blocks, cudaStream_t stream) {
  Launch l{};
  l.grid = dim3(static_cast<unsigned>(n_blocks));
  l.block = dim3(kSmallThreads);
  l.stream = stream;
  return l;
}

}  // namespace

cudaError_t fast_has_code() {
  return has_code(judge_kernel, BuiltFor::kHopper);
}

cudaError_t begin_rows(const Rows& r, int32_t n_tokens, cudaStream_t stream) {
  return launch(begin_rows_kernel, rows_launch(n_tokens, stream), r);
}

cudaError_t norm_rows(const Norm& n, int32_t n_rows, cudaStream_t stream) {
  Launch l = rows_launch(n_rows, stream);
  l.shared_bytes = kWarps * sizeof(float);
  return launch(norm_rows_kernel, l, n);
}

cudaError_t allow_choice(int32_t hidden, int32_t n_experts) {
  const auto n_bytes = static_cast<size_t>(choice_shared(hidden, n_experts));
  return n_bytes <= kSharedWithoutAsking ? cudaSuccess : allow_shared(choose_kernel, n_bytes);
}

cudaError_t choose_experts(const Choice& c, cudaStream_t stream) {
  Launch l = rows_launch(divide_up(c.n_tokens, kRouterTokens), stream);
  l.shared_bytes = static_cast<size_t>(choice_shared(c.hidden, c.n_experts));
  return launch(choose_kernel, l, c);
}

cudaError_t judge_rows(const float* h, int32_t hidden, const DeviceRow* rows, int32_t n_rows,
                       int32_t* row_results, cudaStream_t stream) {
  return launch(judge_kernel, rows_launch(n_rows, stream), h, hidden, rows, row_results);
}

cudaError_t pack_halves(const uint16_t* x, int32_t n_tokens, int64_t n_in, int32_t width,
                        uint8_t* tiles, cudaStream_t stream) {
  Launch l = rows_launch(divide_up(n_tokens, width), stream);
  l.grid.y = n_groups(n_in, kRecordCols);
  return launch(pack_halves_kernel, l, x, n_tokens, n_in, width, tiles);
}

}  // namespace mm2::kernels::cuda
