// A block of threads for each expert; the last one to be done chooses.
//
// Error of a score before its sigmoid, with P = sum |x w|: products and sums by fused multiply-adds, 128
// threads of hidden / 128 columns each, then 5 + 3 additions: at most P (hidden / 128 + 8 + 3) 2^-24, three
// of it for the norm of each x.
#include "kernels/cuda/decode/math.h"
#include "kernels/cuda/decode/rows.h"
#include "kernels/cuda/decode/small_steps.h"

namespace mm2::kernels::cuda {
namespace {

/// The best of the experts that no one took, over the warp; ties go to the lower id. A score that is no
/// number counts as the least, so that there are always top_k different experts.
struct Best {
  float score;
  int32_t id;
};
__device__ inline Best better(const Best& a, const Best& b) {
  return b.score > a.score || (b.score == a.score && b.id < a.id) ? b : a;
}

__device__ inline float offered(const RouterStep& s, int32_t token, int32_t e) {
  const float x = __ldcg(s.scores + token * s.n_experts + e) + s.bias[e];
  return x == x ? x : -INFINITY;
}

__device__ inline int32_t* ids_of(const RouterStep& s, int32_t token) {
  return s.ids + (int64_t{s.layer} * s.input->step_tokens + s.input->base + token) * s.top_k;
}

/// One warp: ids and weights of a token, ids ascending.
__device__ inline void choose(const RouterStep& s, int32_t token, uint32_t* choosers) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  uint32_t taken = 0;  // bit i: expert 32 i + lane
  for (int32_t n = 0; n < s.top_k; ++n) {
    Best best{-INFINITY, INT32_MAX};
    for (int32_t i = 0; i * 32 + lane < s.n_experts; ++i) {
      if ((taken >> i & 1u) != 0) continue;
      best = better(best, {offered(s, token, i * 32 + lane), i * 32 + lane});
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      const float score = __shfl_xor_sync(~0u, best.score, lanes);
      best = better(best, {score, __shfl_xor_sync(~0u, best.id, lanes)});
    }
    if (best.id % 32 == lane) taken |= 1u << (best.id / 32);
  }
  int32_t* ids = ids_of(s, token);
  float sum = 0;
  int32_t before = 0;
  for (int32_t i = 0; i * 32 < s.n_experts; ++i) {
    const unsigned chosen = __ballot_sync(~0u, static_cast<int>(taken >> i & 1u));
    for (unsigned left = chosen; left != 0; left &= left - 1) {
      sum += __ldcg(s.scores + token * s.n_experts + i * 32 + __ffs(static_cast<int>(left)) - 1);
    }
    if ((taken >> i & 1u) != 0) {
      const int32_t e = i * 32 + lane;
      ids[before + __popc(chosen & ((1u << lane) - 1))] = e;
      atomicOr(choosers + e, 1u << token);
    }
    before += __popc(chosen);
  }
  __syncwarp();
  if (lane >= s.top_k) return;
  const float score = __ldcg(s.scores + token * s.n_experts + ids[lane]);
  s.routing->weights[token * s.top_k + lane] = __fdiv_rn(score, sum);
}

/// The whole block: which experts were chosen, by whom, with which share.
__device__ inline void collect(const RouterStep& s, const uint32_t* choosers, int32_t* n_touched) {
  Routing& r = *s.routing;
  if (threadIdx.x < 32) {
    int32_t before = 0;
    for (int32_t i = 0; i * 32 < s.n_experts; ++i) {
      const auto lane = static_cast<int32_t>(threadIdx.x);
      const int32_t e = i * 32 + lane;
      const uint32_t by = e < s.n_experts ? choosers[e] : 0;
      const unsigned touched = __ballot_sync(~0u, by != 0 ? 1 : 0);
      if (by != 0) {
        const int32_t at = before + __popc(touched & ((1u << lane) - 1));
        r.experts[at] = e;
        r.choosers[at] = by;
      }
      before += __popc(touched);
    }
    if (threadIdx.x == 0) *n_touched = before;
    if (threadIdx.x == 0) r.n_touched = before;
  }
  __syncthreads();
  for (auto i = static_cast<int32_t>(threadIdx.x); i < *n_touched * kDecodeTokens;
       i += kSmallThreads) {
    const int32_t at = i / kDecodeTokens, token = i % kDecodeTokens, e = r.experts[at];
    float share = 0;
    for (int32_t k = 0; k < s.top_k && (r.choosers[at] >> token & 1u) != 0; ++k) {
      if (ids_of(s, token)[k] == e) share = r.weights[token * s.top_k + k];
    }
    r.shares[at][token] = share;
  }
}

__device__ inline void dot_rows(const RouterStep& s, const float* gate, float* room, int32_t e) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  for (int32_t t = 0; t < s.input->n_tokens; ++t) {
    const float* h = s.h + int64_t{s.input->base + t} * s.hidden;
    const float squares =
        sum_of_squares(h, s.hidden, thread, kSmallThreads, room, [] { __syncthreads(); });
    const float factor = norm_factor(squares, s.hidden, s.eps);
    float sum = 0;
    for (int32_t k = thread * 4; k < s.hidden; k += kSmallThreads * 4) {
      const float4 x = __ldcg(reinterpret_cast<const float4*>(h + k));
      const float4 n = *reinterpret_cast<const float4*>(s.norm + k);
      const float4 w = *reinterpret_cast<const float4*>(gate + k);
      sum = __fmaf_rn(x.x * factor * n.x, w.x, sum);
      sum = __fmaf_rn(x.y * factor * n.y, w.y, sum);
      sum = __fmaf_rn(x.z * factor * n.z, w.z, sum);
      sum = __fmaf_rn(x.w * factor * n.w, w.w, sum);
    }
    sum = sum_warp(sum);
    __syncthreads();
    if (thread % 32 == 0) room[thread / 32] = sum;
    __syncthreads();
    if (thread == 0) {
      const float all = room[0] + room[1] + room[2] + room[3];
      __stcg(s.scores + t * s.n_experts + e, sigmoid_fast(all));
    }
  }
}

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
  dot_rows(s, gate, room, e);
  if (threadIdx.x == 0) {
    __threadfence();
    *last = add_acq_rel(s.counter, 1) == gridDim.x - 1 ? 1 : 0;
  }
  __syncthreads();
  if (*last == 0) return;
  __threadfence();
  if (threadIdx.x == 0) *s.counter = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < s.n_experts; i += kSmallThreads) {
    choosers[i] = 0;
  }
  __syncthreads();
  for (auto t = static_cast<int32_t>(threadIdx.x / 32); t < s.input->n_tokens;
       t += kSmallThreads / 32) {
    choose(s, t, choosers);
  }
  __syncthreads();
  collect(s, choosers, last);
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
