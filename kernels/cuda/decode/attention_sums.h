// Sums of attention over some positions, how two of them are added, and where chunks leave theirs.
#pragma once

#include "kernels/cuda/common/fragments.h"
#include "kernels/cuda/common/ptx.h"
#include "kernels/cuda/decode/attention_step.h"
#include "kernels/cuda/decode/math.h"

namespace mm2::kernels::cuda {

constexpr float kLowestScore = -3.4e38f;

/// Of one component of one query: the greatest score, the sum of weights, the weighted sum.
struct Sums {
  float greatest, total, y;
};

/// Adds what comes later.
__device__ inline void add_sums(Sums& to, const Sums& later) {
  const float greatest = fmaxf(to.greatest, later.greatest);
  const float fade = exp2_fast(to.greatest - greatest);
  const float of_later = exp2_fast(later.greatest - greatest);
  to.total = __fmaf_rn(later.total, of_later, to.total * fade);
  to.y = __fmaf_rn(later.y, of_later, to.y * fade);
  to.greatest = greatest;
}

/// Where chunk i of a head leaves its sums, or super i - max_chunks.
__device__ inline int64_t place_of(const AttentionStep& s, int32_t token, int32_t head, int32_t i) {
  return (int64_t{token} * s.n_heads + head) * (s.max_chunks + s.max_supers) + i;
}

__device__ inline void leave(const AttentionStep& s, int64_t place, int32_t d, const Sums& sums) {
  __stcg(s.sums + place * s.head_dim + d, sums.y);
  if (d == 0) __stcg(s.tops + place, make_float2(sums.greatest, sums.total));
}

__device__ inline Sums find(const AttentionStep& s, int64_t place, int32_t d) {
  const float2 top = __ldcg(s.tops + place);
  return {top.x, top.y, __ldcg(s.sums + place * s.head_dim + d)};
}

/// Places [first, first + n) of a head, ascending.
__device__ inline Sums find_all(const AttentionStep& s, int32_t token, int32_t head, int32_t first,
                                int32_t n, int32_t d) {
  Sums all = find(s, place_of(s, token, head, first), d);
  MM2_ROLLED
  for (int32_t i = 1; i < n; ++i) add_sums(all, find(s, place_of(s, token, head, first + i), d));
  return all;
}

}  // namespace mm2::kernels::cuda
