// Scores of experts, by a block of kSmallThreads threads for each, and the choice, by whichever is last.
//
// Error of a score before its sigmoid, with P = sum |x w|: products and sums by fused multiply-adds, 128
// threads of hidden / 128 columns each, then 5 + 3 additions: at most P (hidden / 128 + 8 + 3) 2^-24, three
// of it for the norm of each x.
#pragma once

#include "kernels/cuda/decode/math.h"
#include "kernels/cuda/decode/rows.h"
#include "kernels/cuda/decode/small_steps.h"

namespace mm2::kernels::cuda {

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

/// All of them: which experts were chosen, by whom, with which share.
template <typename Sync>
__device__ inline void collect(const RouterStep& s, const uint32_t* choosers, int32_t* n_touched,
                               Sync sync) {
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
  sync();
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

/// The scores of expert e. gate(k): where columns k to k + 3 of its row are; room: 4 floats; what sync()
/// does: all kSmallThreads meet.
template <typename Gate, typename Sync>
__device__ inline void dot_rows(const RouterStep& s, Gate gate, float* room, int32_t e, Sync sync) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  for (int32_t t = 0; t < s.input->n_tokens; ++t) {
    const float* h = s.h + int64_t{s.input->base + t} * s.hidden;
    const float squares = sum_of_squares(h, s.hidden, thread, kSmallThreads, room, sync);
    const float factor = norm_factor(squares, s.hidden, s.eps);
    float sum = 0;
    for (int32_t k = thread * 4; k < s.hidden; k += kSmallThreads * 4) {
      const float4 x = __ldcg(reinterpret_cast<const float4*>(h + k));
      const float4 n = *reinterpret_cast<const float4*>(s.norm + k);
      const float4 w = *reinterpret_cast<const float4*>(gate(k));
      sum = __fmaf_rn(x.x * factor * n.x, w.x, sum);
      sum = __fmaf_rn(x.y * factor * n.y, w.y, sum);
      sum = __fmaf_rn(x.z * factor * n.z, w.z, sum);
      sum = __fmaf_rn(x.w * factor * n.w, w.w, sum);
    }
    sum = sum_warp(sum);
    sync();
    if (thread % 32 == 0) room[thread / 32] = sum;
    sync();
    if (thread == 0) {
      const float all = room[0] + room[1] + room[2] + room[3];
      __stcg(s.scores + t * s.n_experts + e, sigmoid_fast(all));
    }
  }
}

/// After a block of threads has done its experts: the last of n_blocks to come here chooses. choosers:
/// [n_experts], last: a number, both in shared memory.
template <typename Sync>
__device__ inline void choose_if_last(const RouterStep& s, uint32_t n_blocks, uint32_t* choosers,
                                      int32_t* last, Sync sync) {
  if (threadIdx.x == 0) {
    __threadfence();
    *last = add_acq_rel(s.counter, 1) == n_blocks - 1 ? 1 : 0;
  }
  sync();
  if (*last == 0) return;
  __threadfence();
  if (threadIdx.x == 0) *s.counter = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < s.n_experts; i += kSmallThreads) {
    choosers[i] = 0;
  }
  sync();
  for (auto t = static_cast<int32_t>(threadIdx.x / 32); t < s.input->n_tokens;
       t += kSmallThreads / 32) {
    choose(s, t, choosers);
  }
  sync();
  collect(s, choosers, last, sync);
}

}  // namespace mm2::kernels::cuda
