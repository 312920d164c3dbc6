// Attention as every instruction set computes it: the order of all additions stands here and in
// kernels/api/ops.h, once; a backend brings the inner loops.
//
// They are the static functions of an Isa. All of it is in unnamed namespaces: each instruction set
// has its own copy of everything, which the linker gives to nobody else.
//   kQueries                queries that share one reading of rows in add_products
//   widen(number, group, lanes, first, n, rows, ahead)
//                           steps [first, first + n) of a group of keys or values (kv.h) as floats,
//                           [n, lanes]; first and n are even, for kE4M3 multiples of 4
//   add_products(products)  see Products
//   add_codes(products, number, from)  may be missing: the same as widen and add_products together
//                           for all n queries and from the start of a group on, or false
//   soften(scores, n_valid, softening)  see Softening
#pragma once

#include "kernels/api/math.h"
#include "kernels/api/ops.h"
#include "kernels/cpu/layout/kv.h"

namespace mm2::kernels::common {
namespace {

using layout::kKvLanes;
using layout::KvUnit;
using layout::round_up;

/// At each absolute multiple of this many positions sums begin anew.
constexpr int64_t kAttentionChunk = 8 * kKvLanes;
/// Steps that become floats at a time: 16 KiB of them.
constexpr int64_t kPieceSteps = 64;

constexpr float kLowestScore = -3.4e38f;

/// Memory that will be read soon, to be prefetched evenly while something else is computed.
struct Ahead {
  const char* at;
  int64_t bytes;

  /// The first n of its bytes, which it loses.
  Ahead take(int64_t n) {
    const Ahead taken{at, n < bytes ? n : bytes};
    at += taken.bytes;
    bytes -= taken.bytes;
    return taken;
  }
};

/// Asks for it in n_steps equal parts, into the second-level cache.
class Prefetch {
 public:
  Prefetch(const Ahead& ahead, int64_t n_steps)
      : next_(ahead.at), target_(ahead.at), part_(ahead.bytes / n_steps) {}
  __attribute__((always_inline)) void step() {
    target_ += part_;
    for (; next_ < target_; next_ += 64) __builtin_prefetch(next_, 0, 2);
  }

 private:
  const char* next_;
  const char* target_;
  const int64_t part_;
};

/// sums[q, lane] += factors[q, step] * rows[step, lane] for q < n: pairs of steps ascending, of a
/// pair the odd one first. Where `exact`, products need no rounding; else each is rounded before it
/// is added.
struct Products {
  const float* rows;     // [n_steps, lanes], 64-byte aligned; lanes is a multiple of 16
  const float* factors;  // [n, n_steps] at a distance of factor_stride
  float* sums;           // [n, lanes] at a distance of sum_stride
  int64_t lanes, n_steps, factor_stride, sum_stride;  // n_steps is even
  int32_t n;                                          // 1 .. Isa::kQueries
  bool exact;
  Ahead ahead;
};

/// What soften does to the scores of one query in 64 positions:
///   score *= factor; greatest' = max(greatest, scores of the first n_valid)
///   e[p] = 2^(score[p] - greatest'), as bits (e + round) & keep; 0 from n_valid on
///   fade = 2^(greatest - greatest'), which it returns
///   totals[i] = totals[i] * fade + e[i] + e[i + 16] + e[i + 32] + e[i + 48], from left to right
struct Softening {
  float factor;
  uint32_t round, keep;
  float* greatest;
  float* totals;  // [16]
  Ahead ahead;
};

/// Sums of n queries over some positions.
struct AttentionState {
  float* sums;      // [n, width], 64-byte aligned
  float* totals;    // [n, 16]
  float* greatest;  // [n]
};

inline int64_t attention_width(const ModelShape& s) {
  return round_up(s.head_dim, 16);
}

inline int64_t state_bytes(const ModelShape& s, int64_t n) {
  return round_up(n * (attention_width(s) + 17) * 4, 64);
}

inline AttentionState state_at(const ModelShape& s, int64_t n, char* base) {
  float* sums = reinterpret_cast<float*>(base);
  float* totals = sums + n * attention_width(s);
  return {sums, totals, totals + n * 16};
}

/// Consecutive tokens of one sequence, and one KV head. A query is a head of a token; those of a
/// token are neighbours.
struct QueryTile {
  const StepRow* row;
  int32_t kv_head;
  int32_t n_queries;
  int64_t first_token;     // of the step
  int64_t first_position;  // of the sequence
  int64_t last_position;

  int64_t n_chunks() const { return last_position / kAttentionChunk + 1; }
};

/// What all tiles of a call share.
struct AttentionCall {
  const AttentionArgs<float>& a;
  KvUnit unit;
  int64_t width;
  int32_t group;  // queries of a token
  bool exact;
  uint32_t round, keep;  // of weights

  explicit AttentionCall(const AttentionArgs<float>& args)
      : a(args),
        unit(layout::kv_unit_of(*args.shape, args.kv->number)),
        width(attention_width(*args.shape)),
        group(args.shape->n_heads / args.shape->n_kv_heads),
        exact(args.activations == kBF16 && args.kv->number != kF32) {
    // A value has 8 bits, or 4: a weight of the others' 16, or 20, has exact products with it.
    keep = !exact ? ~0u : unit.number == kBF16 ? ~0xFFu : ~0xFu;
    round = (~keep + 1) / 2;
  }

  /// log2(e) / sqrt(head_dim) times the scale of the keys, rounded once.
  float score_factor(int32_t kv_head) const {
    const double factor = 1.4426950408889634 / __builtin_sqrt(double(a.shape->head_dim));
    return static_cast<float>(factor * double(scale_of(a.kv->k_scales, kv_head)));
  }
  float scale_of(const float* scales, int32_t kv_head) const {
    if (unit.number != kE4M3) return 1.0f;
    return scales[int64_t{a.layer} * a.shape->n_kv_heads + kv_head];
  }
  /// Component 0 of a query in q and y.
  int64_t offset(const QueryTile& tile, int32_t query) const {
    const int64_t token = tile.first_token + query / group;
    const int64_t head = int64_t{tile.kv_head} * group + query % group;
    return (token * a.shape->n_heads + head) * a.shape->head_dim;
  }
  int64_t position(const QueryTile& tile, int32_t query) const {
    return tile.first_position + query / group;
  }
};

/// One worker's buffers for a tile.
struct AttentionRoom {
  float* q;       // [n_queries, width], as they enter products
  float* rows;    // [kPieceSteps, 64]
  float* scores;  // [n_queries, 64]
};

/// Sums of a tile's queries over one chunk of positions.
template <class Isa>
class ChunkSums {
 public:
  ChunkSums(const AttentionCall& call, const QueryTile& tile, const AttentionRoom& room,
            const AttentionState& to)
      : call_(call), u_(call.unit), tile_(tile), room_(room), to_(to) {}

  void run(int64_t chunk) {
    const int64_t n = tile_.n_queries;
    memset(to_.sums, 0, static_cast<size_t>(n * call_.width) * 4);
    memset(to_.totals, 0, static_cast<size_t>(n) * 64);
    for (int64_t q = 0; q < n; ++q) to_.greatest[q] = kLowestScore;
    const int64_t end = (chunk + 1) * kAttentionChunk;
    for (int64_t p = chunk * kAttentionChunk; p < end && p <= tile_.last_position; p += kKvLanes) {
      add_unit(p);
    }
  }

 private:
  static int64_t valid(int64_t position, int64_t start) {
    const int64_t n = position + 1 - start;
    return n < 0 ? 0 : n < kKvLanes ? n : kKvLanes;
  }

  const char* unit_at(int64_t position) const {
    if (position > tile_.last_position) return nullptr;
    return layout::kv_unit_at(*call_.a.kv, u_, *tile_.row, call_.a.layer, tile_.kv_head, position);
  }

  // While the keys of a unit are worked on, its values are asked for; then the next unit's keys.
  void add_unit(int64_t start) {
    const char* unit = unit_at(start);
    const char* next = unit_at(start + kKvLanes);
    Ahead values{unit + u_.values, u_.bytes - u_.values};
    const int64_t part = tile_.n_queries > Isa::kQueries ? 0 : values.bytes / 8 / tile_.n_queries;
    add_scores(unit, values.take(values.bytes - part * tile_.n_queries));
    for (int32_t q = 0; q < tile_.n_queries; ++q) {
      soften(q, valid(call_.position(tile_, q), start), values.take(part));
    }
    add_values(unit, start, Ahead{next, next == nullptr ? 0 : u_.values});
  }

  void add_scores(const char* unit, Ahead ahead) {
    memset(room_.scores, 0, static_cast<size_t>(tile_.n_queries) * kKvLanes * 4);
    const int64_t share = ahead.bytes * kPieceSteps / round_up(u_.key_steps, kPieceSteps);
    for (int64_t d = 0; d < u_.key_steps; d += kPieceSteps) {
      const int64_t left = u_.key_steps - d;
      Products p{};
      p.rows = room_.rows;
      p.factors = room_.q + d;
      p.factor_stride = call_.width;
      p.sums = room_.scores;
      p.sum_stride = p.lanes = kKvLanes;
      p.n_steps = left < kPieceSteps ? left : kPieceSteps;
      p.exact = call_.exact;
      p.ahead = ahead.take(share);
      if (added_at_once(p, unit + layout::kv_offset(u_.number, kKvLanes, 0, d))) continue;
      Isa::widen(u_.number, unit, kKvLanes, d, p.n_steps, room_.rows, p.ahead.take(share / 8));
      for (int32_t q = 0; q < tile_.n_queries; q += p.n) {
        p.n = group_from(q);
        add_products(p);
      }
    }
  }

  // All queries of a small tile at once, all steps, from the codes themselves.
  bool added_at_once(Products& p, const char* from) const {
    p.n = static_cast<int32_t>(tile_.n_queries);
    if constexpr (requires { Isa::add_codes(p, u_.number, from); }) {
      return Isa::add_codes(p, u_.number, from);
    }
    return false;
  }

  // One group of queries; then the next one's place.
  static void add_products(Products& p) {
    if (p.n_steps > 0) Isa::add_products(p);
    p.factors += p.n * p.factor_stride;
    p.sums += p.n * p.sum_stride;
    p.ahead.bytes = 0;
  }

  void soften(int32_t q, int64_t n_valid, const Ahead& ahead) {
    float* scores = room_.scores + q * kKvLanes;
    if (n_valid == 0) {
      memset(scores, 0, kKvLanes * 4);
      return;
    }
    const Softening softening{factor_,          call_.round,         call_.keep,
                              to_.greatest + q, to_.totals + q * 16, ahead};
    const float fade = Isa::soften(scores, n_valid, softening);
    if (fade == 1.0f) return;
    float* sums = to_.sums + q * call_.width;
    for (int64_t d = 0; d < call_.width; ++d) sums[d] *= fade;
  }

  // Positions after the tile's last are not read: the cache may hold anything there.
  void add_values(const char* unit, int64_t start, Ahead ahead) {
    const int64_t n_valid = valid(tile_.last_position, start);
    const int64_t n_steps = round_up(n_valid, 4);
    const int64_t seen_by_all = valid(call_.position(tile_, 0), start);
    const int64_t share = ahead.bytes * kKvLanes / round_up(call_.width, kKvLanes);
    for (int64_t d = 0; d < call_.width; d += kKvLanes) {
      const layout::ValueGroup group = layout::value_group(u_, d);
      Products p{};
      p.rows = room_.rows;
      p.factors = room_.scores;
      p.factor_stride = kKvLanes;
      p.sums = to_.sums + d;
      p.sum_stride = call_.width;
      p.lanes = group.lanes;
      p.exact = call_.exact;
      p.ahead = ahead.take(share);
      p.n_steps = n_steps;
      if (seen_by_all == kKvLanes && added_at_once(p, unit + group.offset)) continue;
      Isa::widen(u_.number, unit + group.offset, group.lanes, 0, n_steps, room_.rows,
                 p.ahead.take(share / 8));
      memset(room_.rows + n_valid * group.lanes, 0,
             static_cast<size_t>((n_steps - n_valid) * group.lanes) * 4);
      if (seen_by_all < n_valid && !all_finite(room_.rows + seen_by_all * group.lanes,
                                               (n_valid - seen_by_all) * group.lanes)) {
        add_to_each(p, start);
        continue;
      }
      for (int32_t q = 0; q < tile_.n_queries; q += p.n) {
        p.n = group_from(q);
        p.n_steps = round_up(valid(call_.position(tile_, q + p.n - 1), start), 2);
        add_products(p);
      }
    }
  }

  // A weight of 0 does not take an infinite value away. The last query sees most: the rows that one
  // does not see may go.
  void add_to_each(Products p, int64_t start) {
    float* sums = p.sums;
    p.n = 1;
    for (int32_t q = tile_.n_queries - 1; q >= 0; --q) {
      const int64_t n_valid = valid(call_.position(tile_, q), start);
      p.n_steps = round_up(n_valid, 2);
      memset(room_.rows + n_valid * p.lanes, 0,
             static_cast<size_t>((p.n_steps - n_valid) * p.lanes) * 4);
      p.factors = room_.scores + q * p.factor_stride;
      p.sums = sums + q * p.sum_stride;
      if (p.n_steps > 0) Isa::add_products(p);
      p.ahead.bytes = 0;
    }
  }

  static bool all_finite(const float* rows, int64_t n) {
    uint32_t wild = 0;
    for (int64_t i = 0; i < n; ++i) {
      wild |= static_cast<uint32_t>((bits_of(rows[i]) & 0x7F800000u) == 0x7F800000u);
    }
    return wild == 0;
  }

  int32_t group_from(int32_t q) const {
    const int32_t left = tile_.n_queries - q;
    return left < Isa::kQueries ? left : Isa::kQueries;
  }

  const AttentionCall& call_;
  const KvUnit& u_;
  const QueryTile& tile_;
  const AttentionRoom& room_;
  const AttentionState& to_;
  const float factor_ = call_.score_factor(tile_.kv_head);
};

/// The tile's queries as they enter products, filled up with zeros.
inline void enter_queries(const AttentionCall& call, const QueryTile& tile, float* to) {
  const int64_t n = call.a.shape->head_dim;
  for (int32_t q = 0; q < tile.n_queries; ++q, to += call.width) {
    const float* from = call.a.q + call.offset(tile, q);
    for (int64_t d = 0; d < n; ++d) {
      to[d] = call.exact ? bf16_to_f32(f32_to_bf16(from[d])) : from[d];
    }
    for (int64_t d = n; d < call.width; ++d) to[d] = 0.0f;
  }
}

/// Adds the sums of a later chunk, for queries that see some of it.
inline void add_chunk(const AttentionCall& call, const QueryTile& tile, int64_t chunk,
                      const AttentionState& from, const AttentionState& to) {
  for (int32_t q = 0; q < tile.n_queries; ++q) {
    if (call.position(tile, q) < chunk * kAttentionChunk) continue;
    const float before = to.greatest[q], here = from.greatest[q];
    const float greatest = here > before ? here : before;
    const float fade = exp2_f32(before - greatest), part = exp2_f32(here - greatest);
    to.greatest[q] = greatest;
    for (int64_t i = q * 16; i < q * 16 + 16; ++i) {
      to.totals[i] = to.totals[i] * fade + from.totals[i] * part;
    }
    for (int64_t i = q * call.width; i < (q + 1) * call.width; ++i) {
      to.sums[i] = to.sums[i] * fade + from.sums[i] * part;
    }
  }
}

/// y = sums * (scale of the values / total), the lanes of total added in halves.
inline void write_results(const AttentionCall& call, const QueryTile& tile,
                          const AttentionState& state) {
  const float scale = call.scale_of(call.a.kv->v_scales, tile.kv_head);
  for (int32_t q = 0; q < tile.n_queries; ++q) {
    float* lanes = state.totals + q * 16;
    for (int64_t half = 8; half > 0; half /= 2) {
      for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    const float factor = scale / lanes[0];
    float* y = call.a.y + call.offset(tile, q);
    for (int64_t d = 0; d < call.a.shape->head_dim; ++d)
      y[d] = state.sums[q * call.width + d] * factor;
  }
}

}  // namespace
}  // namespace mm2::kernels::common
