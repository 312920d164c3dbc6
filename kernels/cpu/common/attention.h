// Attention as every instruction set computes it: the order of all additions stands here and in
// kernels/api/ops.h, once; a backend brings the inner loops.
//
// They are the static functions of an Isa, a type of an unnamed namespace, so that each backend has
// its own copy of everything here:
//   kQueries                queries that share one reading of rows in add_products
//   widen(number, group, lanes, first, n, rows)
//                           steps [first, first + n) of a group of keys or values (kv.h) as floats,
//                           [n, lanes]; first and n are even, for kE4M3 multiples of 4
//   add_products(products)  see Products
//   soften(scores, n_valid, softening)  see Softening
#pragma once

#include "kernels/api/ops.h"
#include "kernels/cpu/layout/kv.h"

namespace mm2::kernels::common {

using layout::kKvLanes;
using layout::KvUnit;
using layout::round_up;

/// At each absolute multiple of this many positions sums begin anew.
constexpr int64_t kAttentionChunk = 8 * kKvLanes;
/// Steps that become floats at a time: 16 KiB of them.
constexpr int64_t kPieceSteps = 64;
/// How far ahead of its use memory is asked for, in bytes.
constexpr int64_t kKvAhead = 16384;

constexpr float kLowestScore = -3.4e38f;
constexpr float kLowestPower =
    -64.0f;  // no weight is below 2^-64 of the greatest: nothing is subnormal

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
  const char* ahead;  // ahead_bytes that will be read soon, to be prefetched; or null
  int64_t ahead_bytes;
};

/// 2^max(t, kLowestPower), t < 128, of additions and multiplications alone; NaN of NaN. Relative error at
/// most 2e-7.
static inline float exp2_f32(float t) {
  constexpr float kRound = 0x1.8p23f;  // adding it rounds to an integer, which is in the low bits
  t = t < kLowestPower ? kLowestPower : t;
  const float shifted = t + kRound;
  const float r = t - (shifted - kRound);
  // Minimax coefficients of (2^r - 1) / r, |r| <= 1/2.
  float p = 1.5594678e-4f;
  p = p * r + 1.3406644e-3f;
  p = p * r + 9.6176930e-3f;
  p = p * r + 5.5503106e-2f;
  p = p * r + 2.4022653e-1f;
  p = p * r + 6.9314721e-1f;
  p = p * r + 1.0f;
  return p * float_of((bits_of(shifted) - bits_of(kRound) + 127u) << 23);
}

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
};

/// Sums of n queries over some positions.
struct AttentionState {
  float* sums;      // [n, width], 64-byte aligned
  float* totals;    // [n, 16]
  float* greatest;  // [n]
};

static inline int64_t attention_width(const ModelShape& s) {
  return round_up(s.head_dim, 16);
}

static inline int64_t state_bytes(const ModelShape& s, int64_t n) {
  return round_up(n * (attention_width(s) + 17) * 4, 64);
}

static inline AttentionState state_at(const ModelShape& s, int64_t n, char* base) {
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

  // What comes kKvAhead after a place in the unit: the keys and values of a sequence are one stream.
  const char* ahead(const char* unit, const char* next, int64_t offset) const {
    const int64_t at = offset + kKvAhead;
    if (at < u_.bytes) return unit + at;
    return next == nullptr || at - u_.bytes >= u_.bytes ? nullptr : next + (at - u_.bytes);
  }

  void add_unit(int64_t start) {
    const char* unit = unit_at(start);
    const char* next = unit_at(start + kKvLanes);
    add_scores(unit, next);
    Softening softening{call_.score_factor(tile_.kv_head), call_.round, call_.keep, nullptr,
                        nullptr};
    for (int32_t q = 0; q < tile_.n_queries; ++q) {
      softening.greatest = to_.greatest + q;
      softening.totals = to_.totals + q * 16;
      soften(q, valid(call_.position(tile_, q), start), softening);
    }
    add_values(unit, next, start);
  }

  void add_scores(const char* unit, const char* next) {
    memset(room_.scores, 0, static_cast<size_t>(tile_.n_queries) * kKvLanes * 4);
    for (int64_t d = 0; d < u_.key_steps; d += kPieceSteps) {
      const int64_t left = u_.key_steps - d;
      const int64_t n_steps = left < kPieceSteps ? left : kPieceSteps;
      Isa::widen(u_.number, unit, kKvLanes, d, n_steps, room_.rows);
      Products p{room_.rows,
                 room_.q + d,
                 room_.scores,
                 kKvLanes,
                 n_steps,
                 call_.width,
                 kKvLanes,
                 0,
                 call_.exact,
                 nullptr,
                 kKvLanes * n_steps * bytes_of(u_.number)};
      p.ahead = ahead(unit, next, layout::key_offset(u_, 0, d));
      for (int32_t q = 0; q < tile_.n_queries; q += p.n) {
        p.n = group_from(q);
        Isa::add_products(p);
        p.factors += p.n * p.factor_stride;
        p.sums += p.n * p.sum_stride;
        p.ahead = nullptr;
      }
    }
  }

  void soften(int32_t q, int64_t n_valid, const Softening& softening) {
    float* scores = room_.scores + q * kKvLanes;
    if (n_valid == 0) {
      memset(scores, 0, kKvLanes * 4);
      return;
    }
    const float fade = Isa::soften(scores, n_valid, softening);
    if (fade == 1.0f) return;
    float* sums = to_.sums + q * call_.width;
    for (int64_t d = 0; d < call_.width; ++d) sums[d] *= fade;
  }

  // Positions after the tile's last are not read: the cache may hold anything there.
  void add_values(const char* unit, const char* next, int64_t start) {
    const int64_t n_valid = valid(tile_.last_position, start);
    const int64_t n_steps = round_up(n_valid, 4);
    for (int64_t d = 0; d < call_.width; d += kKvLanes) {
      const layout::ValueGroup group = layout::value_group(u_, d);
      Isa::widen(u_.number, unit + group.offset, group.lanes, 0, n_steps, room_.rows);
      memset(room_.rows + n_valid * group.lanes, 0,
             static_cast<size_t>((n_steps - n_valid) * group.lanes) * 4);
      Products p{room_.rows,
                 room_.scores,
                 to_.sums + d,
                 group.lanes,
                 0,
                 kKvLanes,
                 call_.width,
                 0,
                 call_.exact,
                 nullptr,
                 group.lanes * kKvLanes * bytes_of(u_.number)};
      p.ahead = ahead(unit, next, group.offset);
      for (int32_t q = 0; q < tile_.n_queries; q += p.n) {
        p.n = group_from(q);
        p.n_steps = round_up(valid(call_.position(tile_, q + p.n - 1), start), 2);
        if (p.n_steps > 0) Isa::add_products(p);
        p.factors += p.n * p.factor_stride;
        p.sums += p.n * p.sum_stride;
        p.ahead = nullptr;
      }
    }
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
};

/// The tile's queries as they enter products, filled up with zeros.
static inline void enter_queries(const AttentionCall& call, const QueryTile& tile, float* to) {
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
static inline void add_chunk(const AttentionCall& call, const QueryTile& tile, int64_t chunk,
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
static inline void write_results(const AttentionCall& call, const QueryTile& tile,
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

}  // namespace mm2::kernels::common
