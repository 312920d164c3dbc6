// The warpgroup that multiplies, stages activations and does something with finished sums.
#pragma once

#include "kernels/cuda/decode/math.h"
#include "kernels/cuda/decode/product_work.h"
#include "kernels/cuda/decode/rows.h"

namespace mm2::kernels::cuda {

/// y += the next n_records of the ring, which are of format P, times the activations x.
template <typename P>
__device__ __forceinline__ void multiply_records(Wgmma& wgmma, const Records& records,
                                                 const Ring& ring, RingPlace& place, const char* x,
                                                 int32_t n_records, float (&y)[4]) {
  int32_t left = 0;  // of the slot's records
  const char* record = nullptr;
  MM2_ROLLED
  for (int32_t r = 0; r < n_records; ++r) {
    if (left == 0) {
      record = await_slot(ring, place);
      left = ring.per_slot;
    }
    const uint64_t b = k_major(tile_address(x + r * 2 * kXTileBytes));
    add_record<P, kDecodeTokens>(wgmma, records, reinterpret_cast<const uint8_t*>(record), b, y);
    record += records.bytes;
    if (--left == 0 || r + 1 == n_records) {
      leave_slot(ring, place);
      left = 0;
    }
  }
}

/// Multiplies records of a format that is known when the kernel is compiled.
template <typename P>
struct OneFormat {
  __device__ __forceinline__ void multiply(Wgmma& wgmma, const Records& records, const Ring& ring,
                                           RingPlace& place, const char* x, int32_t n_records,
                                           float (&y)[4]) const {
    multiply_records<P>(wgmma, records, ring, place, x, n_records, y);
  }
};

/// What the warpgroup that multiplies has. F: how it multiplies records.
template <typename F>
struct Consumer {
  const ProductStep& p;
  const F format;
  const Work work;
  const Ring ring;
  char* x;         // activations of a piece
  float* factors;  // [8] of the norm of each token
  float* room;     // [4] and a flag
  const int32_t thread;
  RingPlace place = {};
  Wgmma wgmma = {};

  /// y = the piece times the activations, from +0.
  __device__ __forceinline__ void multiply(int32_t n_records, float (&y)[4]) {
    for (float& sum : y) sum = 0.0f;
    format.multiply(wgmma, p.records, ring, place, x, n_records, y);
  }

  __device__ void find_factors() {
    for (int32_t c = 0; c < kDecodeTokens; ++c) {
      const int32_t token = token_of(p, c);
      if (token < 0) break;
      const float sum = sum_of_squares(p.h + int64_t{token} * p.n_in, p.n_in, thread, kConsumers,
                                       room, [] { sync_consumers(); });
      if (thread == 0) factors[c] = norm_factor(sum, p.n_in, p.eps);
    }
  }

  __device__ void stage(const Unit& u) {
    const int32_t first = u.piece * p.cut.piece_records * static_cast<int32_t>(kRecordCols);
    const int32_t n = records_of_piece(p, u.piece) * static_cast<int32_t>(kRecordCols);
    sync_consumers();  // nobody reads the activations before these any more
    if (p.task == kOTask) {
      stage_rows(p, p.rows, p.input->n_tokens, x, thread, first, n);
    } else if (p.task == kDownTask) {
      stage_rows(p, p.rows + int64_t{u.entry} * kDecodeTokens * p.n_in, kDecodeTokens, x, thread,
                 first, n);
    } else {
      stage_normed(p, factors, x, thread, first, n);
    }
    fence_async();
    sync_consumers();
  }

  __device__ float4* partial(const Unit& u, int32_t part, int32_t which) const {
    const int64_t sums = sums_of_unit(p.task);
    const int64_t at = (int64_t{u.group} * u.n_parts + part) * sums + which;
    return p.partials + at * kConsumers + thread;
  }

  /// Leaves the unit's sums where the last of its group finds them; true for that one.
  __device__ bool leave_sums(const Unit& u, const float (&y)[4], const float (&z)[4]) {
    __stcg(partial(u, u.part, 0), make_float4(y[0], y[1], y[2], y[3]));
    if (p.task == kGateUpTask) __stcg(partial(u, u.part, 1), make_float4(z[0], z[1], z[2], z[3]));
    return is_last(p.counters + u.group, u.n_parts, reinterpret_cast<uint32_t*>(room + 4),
                   [] { sync_consumers(); });
  }

  /// Parts [first, first + n) ascending.
  __device__ void add_parts(const Unit& u, int32_t first, int32_t n, int32_t which,
                            float (&y)[4]) const {
    for (int32_t i = 0; i < n; ++i) {
      const float4 part = __ldcg(partial(u, first + i, which));
      y[0] = i == 0 ? part.x : y[0] + part.x;
      y[1] = i == 0 ? part.y : y[1] + part.y;
      y[2] = i == 0 ? part.z : y[2] + part.z;
      y[3] = i == 0 ? part.w : y[3] + part.w;
    }
  }

  __device__ int32_t row_of(const Unit& u, int reg) const {
    return u.block * static_cast<int32_t>(kBlockRows) + element_of_d(thread, reg).row;
  }
  __device__ int32_t column_of(int reg) const { return element_of_d(thread, reg).column; }

  /// Where the results of column c go.
  __device__ int64_t y_row(int32_t c) const {
    if (p.task == kQkvTask) return c;
    return (p.task == kHeadTask ? p.input->first_output : p.input->base) + c;
  }

  __device__ void finish_dense(const Unit& u, float (&y)[4]) const {
    const int32_t m = matrix_of(p, u.block);
    for (int i = 0; i < 4; ++i) {
      const int32_t row = row_of(u, i) - p.first_block[m] * static_cast<int32_t>(kBlockRows);
      const int32_t c = column_of(i);
      if (row >= p.n_out[m] || token_of(p, c) < 0) continue;
      float* to = p.y + y_row(c) * p.y_stride + p.first_row[m] + row;
      const float sum = scaled(p.matrices[m], y[i]);
      *to = p.task == kOTask ? *to + sum : sum;
    }
  }

  __device__ void finish_gate_up(const Unit& u, float (&y)[4], float (&z)[4]) const {
    const DeviceExpert& expert = p.experts[p.routing->experts[u.entry]];
    for (int i = 0; i < 4; ++i) {
      const int32_t row = row_of(u, i), c = column_of(i);
      if (row >= p.n_out[0]) continue;
      const float act =
          silu_fast(scaled(view_of(expert.gate), y[i])) * scaled(view_of(expert.up), z[i]);
      const bool chosen = (p.routing->choosers[u.entry] >> c & 1u) != 0;
      p.act[(int64_t{u.entry} * kDecodeTokens + c) * p.n_out[0] + row] =
          chosen ? f32_to_bf16(act) : uint16_t{0};
    }
  }

  /// alone: y is all there is of the group.
  __device__ void finish_down(const Unit& u, bool alone, const float (&y)[4]) const {
    float sums[4] = {0, 0, 0, 0};
    for (int32_t e = 0; e < work.n_entries; ++e) {
      float down[4] = {y[0], y[1], y[2], y[3]};
      if (!alone) add_parts(u, e * p.cut.n_pieces, p.cut.n_pieces, 0, down);
      const WeightView w = view_of(p.experts[p.routing->experts[e]].down);
      const uint32_t choosers = p.routing->choosers[e];
      for (int i = 0; i < 4; ++i) {
        const int32_t c = column_of(i);
        if ((choosers >> c & 1u) == 0) continue;
        sums[i] = __fmaf_rn(p.routing->shares[e][c], scaled(w, down[i]), sums[i]);
      }
    }
    for (int i = 0; i < 4; ++i) {
      const int32_t row = row_of(u, i), c = column_of(i);
      if (row < p.n_out[0] && c < p.input->n_tokens) p.y[y_row(c) * p.y_stride + row] += sums[i];
    }
  }

  __device__ void finish(const Unit& u, float (&y)[4], float (&z)[4]) {
    const bool alone = u.n_parts == 1;
    if (!alone && !leave_sums(u, y, z)) return;
    if (p.task == kDownTask) return finish_down(u, alone, y);
    if (!alone) add_parts(u, 0, u.n_parts, 0, y);
    if (p.task != kGateUpTask) return finish_dense(u, y);
    if (!alone) add_parts(u, 0, u.n_parts, 1, z);
    finish_gate_up(u, y, z);
  }

  __device__ void run() {
    if (work.units.first == work.units.end) return;
    if (p.task != kOTask && p.task != kDownTask) find_factors();
    int32_t staged = -1;
    for (int64_t i = work.units.first; i < work.units.end; ++i) {
      const Unit u = unit_at(p.task, p.cut, work.n_blocks, work.n_entries, i);
      const int32_t key = x_key(p.task, p.cut, u);
      if (key != staged) stage(u);
      staged = key;
      float y[4] = {}, z[4] = {};  // of the first product and of the last
      MM2_ROLLED
      for (int32_t which = 0; which < sums_of_unit(p.task); ++which) {
        multiply(records_of_piece(p, u.piece), z);
        for (int j = 0; j < 4 && which == 0; ++j) y[j] = z[j];
      }
      finish(u, y, z);
    }
  }
};

}  // namespace mm2::kernels::cuda
