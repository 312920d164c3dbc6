// What a warpgroup of prefill_attention does with sums that are whole: of groups, chunks and supers, added in
// the order of decoding, and written.
#pragma once

#include "kernels/cuda/prefill/attention_shared.h"

namespace mm2::kernels::cuda {

template <int32_t number, int32_t kDim>
class ColumnSums {
 public:
  __device__ ColumnSums(const PrefillAttention& attention, TileShared& shared)
      : a(attention),
        s(attention.step),
        group(static_cast<int32_t>(threadIdx.x) / kGroupThreads),
        thread(static_cast<int32_t>(threadIdx.x) % kGroupThreads),
        queries(s.n_heads / s.n_kv_heads),
        to(shared.groups[group]) {}

  __device__ void sync() const {
    named_sync(static_cast<unsigned>(1 + group), static_cast<unsigned>(kGroupThreads));
  }
  /// The sums of a super, or of all: own numbers of each thread, kGroupThreads apart.
  __device__ float* sums_of(int32_t all) const {
    return a.sums +
           (int64_t{blockIdx.x} * 2 * kQueryGroups + group * 2 + all) * 2 * kOwn * kGroupThreads +
           thread;
  }
  /// Of number i of a product: an even one and the next are of neighbouring columns.
  __device__ int32_t column_of(int i) const { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

  __device__ QueryTile own_tile(int32_t unit) const {
    QueryTile tile = tile_of(a, unit);
    const int32_t most = tokens_of_group(s.n_heads, s.n_kv_heads), before = group * most;
    const int32_t left = tile.n_tokens - before;
    tile.first_token += before;
    tile.first_position += before;
    tile.n_tokens = left < most ? left : most;
    return tile;
  }

  /// Combines each of the 16 columns' numbers over the 8 lanes that have the same columns, halves of the
  /// columns at a time: x[0] and x[1] are those of columns kept_column() and the next.
  template <typename F>
  __device__ void combine(float (&x)[2 * kPairs], F f) const {
    combine_halves<kPairs, 4>(x, f);
    combine_halves<kPairs / 2, 8>(x, f);
    combine_halves<kPairs / 4, 16>(x, f);
  }
  template <int kHalf, int kLanes, typename F>
  __device__ void combine_halves(float (&x)[2 * kPairs], F f) const {
    const bool upper = (thread & kLanes) != 0;
    MM2_UNROLL
    for (int i = 0; i < kHalf; ++i) {
      const float given = upper ? x[i] : x[kHalf + i], kept = upper ? x[kHalf + i] : x[i];
      x[i] = f(kept, __shfl_xor_sync(~0u, given, kLanes));
    }
  }
  __device__ int32_t kept_column() const {
    const int32_t lane = thread % 32;
    return (lane / 4 % 2 * 4 + lane / 8 % 2 * 2 + lane / 16) * 8 + lane % 4 * 2;
  }
  __device__ void leave_kept(const float (&x)[2 * kPairs]) {
    *reinterpret_cast<float2*>(to.warps[thread / 32] + kept_column()) = make_float2(x[0], x[1]);
  }

  /// to.group.total: over the lanes, then over the warps.
  __device__ void finish_group(float (&total)[2 * kPairs]) {
    combine(total, [](float one, float other) { return one + other; });
    leave_kept(total);
    sync();
    if (thread < kN) {
      const auto& warps = to.warps;
      to.group.total[thread] =
          warps[0][thread] + warps[1][thread] + warps[2][thread] + warps[3][thread];
    }
  }

  /// The group's sums onto those of the chunk.
  __device__ void add_group(const float (&y)[2][kOwn], bool is_first) {
    find_factors(to.chunk, to.group, is_first);
    MM2_UNROLL
    for (int pair = 0; pair < kPairs; ++pair) {
      const int32_t c = column_of(pair * 4);
      const float2 fade = *reinterpret_cast<const float2*>(to.fade + c);
      const float2 of_later = *reinterpret_cast<const float2*>(to.of_later + c);
      MM2_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int reg = pair * 4 + i % 4;
        float& sum = to.y[(i / 4 * kOwn + reg) * kGroupThreads + thread];
        const float own = y[i / 4][reg];
        const float factor = i % 2 == 0 ? of_later.x : of_later.y;
        sum = is_first ? own : __fmaf_rn(own, factor, sum * (i % 2 == 0 ? fade.x : fade.y));
      }
      __syncwarp();  // so that a thread has no more of them in registers at once
    }
    sync();
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
    sync();
  }

  /// What comes later onto a sum; numbers of each thread, kGroupThreads apart.
  __device__ void add(Tops& sum, float* sum_y, const Tops& later, const float* later_y,
                      bool is_first) {
    find_factors(sum, later, is_first);
    MM2_ROLLED
    for (int i = 0; i < 2 * kOwn; ++i) {
      const int32_t c = column_of(i % kOwn);
      const float own = later_y[i * kGroupThreads];
      float& one = sum_y[i * kGroupThreads];
      one = is_first ? own : __fmaf_rn(own, to.of_later[c], one * to.fade[c]);
    }
    sync();
  }

  /// Four neighbouring components of a thread at a time.
  __device__ void write(int32_t unit, const Tops& tops, const float* y) const {
    const QueryTile tile = own_tile(unit);
    const int32_t kv_head = head_of(a, unit);
    const float scale = number == kE4M3 ? s.v_scales[kv_head] : 1.0f;
    const int32_t d = component_of_row(thread / 32 * 16 + thread % 32 / 4, 0);
    if (d >= kDim) return;
    MM2_ROLLED
    for (int i = 0; i < 2 * kPairs; ++i) {
      const int reg = i / 2 * 4 + i % 2;
      const int32_t c = column_of(reg), token = c / queries;
      if (token >= tile.n_tokens) continue;
      const float factor = __fdiv_rn(scale, tops.total[c]);
      const auto number_at = [&](int at) { return y[at * kGroupThreads] * factor; };
      const uint2 four{round_to_pair(number_at(reg), number_at(reg + 2)),
                       round_to_pair(number_at(kOwn + reg), number_at(kOwn + reg + 2))};
      const int64_t head =
          int64_t{tile.first_token + token} * s.n_heads + kv_head * queries + c % queries;
      *reinterpret_cast<uint2*>(s.y + head * kDim + d) = four;
    }
  }

 protected:
  const PrefillAttention& a;
  const AttentionStep& s;
  const int32_t group, thread, queries;
  GroupShared& to;
};

}  // namespace mm2::kernels::cuda
