// Where keys and values lie: one layout for every instruction set.
//
// A KV block is, for each KV head, for each 64 of its positions, a unit: K, then V, one stream.
// Both are groups of up to 64 lanes; within a lane, `together` steps are neighbours (an element):
//   K: lanes are the 64 positions, steps the components of a head
//   V: lanes are components, in groups of 64 and a last one rounded up to 16; steps are positions
// For each element of steps, that of every lane of the group:
//   kBF16: 2 steps in a dword, the even one low
//   kE4M3: 4 steps; for 4 lanes r in 16 bytes, byte 2 r + j is step j, byte 8 + 2 r + j step 2 + j
//   kF32:  1 step
// Components that only fill up (K to a whole element or pair, V to whole lanes) are 0.
// The parts of a unit are multiples of 64 bytes.
#pragma once

#include "kernels/api/numbers.h"
#include "kernels/api/types.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::layout {

constexpr int64_t kKvLanes = 64;
static_assert(kAttentionBlock == kKvLanes, "a unit of keys has a position in each lane");

/// Steps that are neighbours in one lane.
static inline int64_t kv_together(int32_t number) {
  return number == kE4M3 ? 4 : number == kBF16 ? 2 : 1;
}

/// Bytes from the start of a group of `lanes`.
static inline int64_t kv_offset(int32_t number, int64_t lanes, int64_t lane, int64_t step) {
  if (number == kBF16) return step / 2 * lanes * 4 + lane * 4 + step % 2 * 2;
  if (number == kF32) return (step * lanes + lane) * 4;
  return step / 4 * lanes * 4 + lane / 4 * 16 + step % 4 / 2 * 8 + lane % 4 * 2 + step % 2;
}

/// The sizes of a unit.
struct KvUnit {
  int32_t number;
  int64_t key_steps;    // components of a key, filled up
  int64_t value_lanes;  // components of a value, filled up
  int64_t values;       // bytes from the start of the unit to V
  int64_t bytes;
};

static inline KvUnit kv_unit_of(const ModelShape& s, int32_t number) {
  const int64_t key_steps = round_up(s.head_dim, number == kE4M3 ? 4 : 2);
  const int64_t value_lanes = round_up(s.head_dim, 16);
  const int64_t values = kKvLanes * key_steps * bytes_of(number);
  return {number, key_steps, value_lanes, values,
          values + kKvLanes * value_lanes * bytes_of(number)};
}

/// Where component d of the key in a lane of the unit begins, in bytes from the start of the unit.
static inline int64_t key_offset(const KvUnit& u, int64_t lane, int64_t d) {
  return kv_offset(u.number, kKvLanes, lane, d);
}

/// The group of values that begins with component d, a multiple of 64.
struct ValueGroup {
  int64_t lanes;
  int64_t offset;  // bytes from the start of the unit
};
static inline ValueGroup value_group(const KvUnit& u, int64_t d) {
  const int64_t left = u.value_lanes - d;
  return {left < kKvLanes ? left : kKvLanes, u.values + d * kKvLanes * bytes_of(u.number)};
}

/// Where component d of the value in a lane of the unit begins.
static inline int64_t value_offset(const KvUnit& u, int64_t lane, int64_t d) {
  const ValueGroup group = value_group(u, d / kKvLanes * kKvLanes);
  return group.offset + kv_offset(u.number, group.lanes, d % kKvLanes, lane);
}

static inline int64_t kv_block_bytes(const ModelShape& s, int32_t block_size, int32_t number) {
  return int64_t{s.n_kv_heads} * (block_size / kKvLanes) * kv_unit_of(s, number).bytes;
}

/// The unit that holds a position of a sequence.
static inline char* kv_unit_at(const KvCache& kv, const KvUnit& u, const StepRow& row,
                               int32_t layer, int32_t kv_head, int64_t position) {
  const int64_t units = kv.block_size / kKvLanes;
  const int64_t unit = kv_head * units + position % kv.block_size / kKvLanes;
  return static_cast<char*>(kv.data) + layer * kv.layer_stride +
         row.blocks[position / kv.block_size] * kv.block_stride + unit * u.bytes;
}

/// One number as the cache keeps it; `scale` is that of kE4M3.
static inline void store_kv_number(int32_t number, float x, float scale, char* to) {
  const uint16_t half = f32_to_bf16(x);
  if (number == kF32) memcpy(to, &x, 4);
  if (number == kBF16) memcpy(to, &half, 2);
  if (number == kE4M3) *to = static_cast<char>(f32_to_e4m3(x / scale));
}

/// K and V of one position into the cache, in its number: kF32, kBF16, or kE4M3 of x / scale in F32,
/// saturating. Writes only what belongs to this position.
static inline void store_position(const KvCache& kv, const ModelShape& s, const StepRow& row,
                                  int32_t layer, int64_t position,
                                  const float* k,    // [n_kv_heads, head_dim]
                                  const float* v) {  // [n_kv_heads, head_dim]
  const KvUnit u = kv_unit_of(s, kv.number);
  const int64_t lane = position % kKvLanes;
  for (int32_t head = 0; head < s.n_kv_heads; ++head) {
    char* unit = kv_unit_at(kv, u, row, layer, head, position);
    const int64_t at = int64_t{layer} * s.n_kv_heads + head;
    const float k_scale = kv.number == kE4M3 ? kv.k_scales[at] : 1.0f;
    const float v_scale = kv.number == kE4M3 ? kv.v_scales[at] : 1.0f;
    for (int64_t d = 0; d < u.key_steps; ++d) {
      const float x = d < s.head_dim ? k[head * int64_t{s.head_dim} + d] : 0.0f;
      store_kv_number(u.number, x, k_scale, unit + key_offset(u, lane, d));
    }
    for (int64_t d = 0; d < u.value_lanes; ++d) {
      const float x = d < s.head_dim ? v[head * int64_t{s.head_dim} + d] : 0.0f;
      store_kv_number(u.number, x, v_scale, unit + value_offset(u, lane, d));
    }
  }
}

/// For n positions from `first` on, calls move(where a component of K or V lies, the byte at which
/// Backend::read_positions has it) for all of them. One unit after the other, so that it stays in the
/// first-level cache while its lanes are taken apart.
template <int32_t number, typename Move>
static inline void each_number(const KvCache& kv, const ModelShape& s, const StepRow& row,
                               int64_t first, int64_t n, Move move) {
  const KvUnit u = kv_unit_of(s, number);
  const int64_t size = bytes_of(number), head_dim = s.head_dim, heads = s.n_kv_heads;
  for (int32_t layer = 0; layer < s.n_layers; ++layer) {
    for (int32_t head = 0; head < s.n_kv_heads; ++head) {
      for (int64_t p = 0; p < n; ++p) {
        const int64_t lane = (first + p) % kKvLanes;
        char* unit = kv_unit_at(kv, u, row, layer, head, first + p);
        const int64_t k = ((p * s.n_layers + layer) * 2 * heads + head) * head_dim;
        const int64_t v = k + heads * head_dim;
        for (int64_t d = 0; d < head_dim; ++d) {
          move(unit + key_offset(u, lane, d), (k + d) * size);
          move(unit + value_offset(u, lane, d), (v + d) * size);
        }
      }
    }
  }
}

template <int32_t number>
static inline void read_positions_of(const KvCache& kv, const ModelShape& s, const StepRow& row,
                                     int64_t first, int64_t n, char* to) {
  each_number<number>(kv, s, row, first, n, [=](const char* from, int64_t at) {
    memcpy(to + at, from, number == kBF16 ? 2 : number == kF32 ? 4 : 1);
  });
}

template <int32_t number>
static inline void write_positions_of(const KvCache& kv, const ModelShape& s, const StepRow& row,
                                      int64_t first, int64_t n, const char* from) {
  each_number<number>(kv, s, row, first, n, [=](char* to, int64_t at) {
    memcpy(to, from + at, number == kBF16 ? 2 : number == kF32 ? 4 : 1);
  });
}

/// Backend::read_positions.
static inline void read_positions(const KvCache* kv, const ModelShape* s, const StepRow* row,
                                  int64_t first, int64_t n, void* to) {
  char* bytes = static_cast<char*>(to);
  if (kv->number == kBF16) read_positions_of<kBF16>(*kv, *s, *row, first, n, bytes);
  if (kv->number == kF32) read_positions_of<kF32>(*kv, *s, *row, first, n, bytes);
  if (kv->number == kE4M3) read_positions_of<kE4M3>(*kv, *s, *row, first, n, bytes);
}

/// Backend::write_positions. Fills up with zeros as store_position does.
static inline void write_positions(const KvCache* kv, const ModelShape* s, const StepRow* row,
                                   int64_t first, int64_t n, const void* from) {
  const char* bytes = static_cast<const char*>(from);
  if (kv->number == kBF16) write_positions_of<kBF16>(*kv, *s, *row, first, n, bytes);
  if (kv->number == kF32) write_positions_of<kF32>(*kv, *s, *row, first, n, bytes);
  if (kv->number == kE4M3) write_positions_of<kE4M3>(*kv, *s, *row, first, n, bytes);
  const KvUnit u = kv_unit_of(*s, kv->number);
  const auto size = static_cast<size_t>(bytes_of(kv->number));
  for (int32_t layer = 0; layer < s->n_layers; ++layer) {
    for (int32_t head = 0; head < s->n_kv_heads; ++head) {
      for (int64_t p = first; p < first + n; ++p) {
        char* unit = kv_unit_at(*kv, u, *row, layer, head, p);
        const int64_t lane = p % kKvLanes;
        for (int64_t d = s->head_dim; d < u.key_steps; ++d) {
          memset(unit + key_offset(u, lane, d), 0, size);
        }
        for (int64_t d = s->head_dim; d < u.value_lanes; ++d) {
          memset(unit + value_offset(u, lane, d), 0, size);
        }
      }
    }
  }
}

}  // namespace mm2::kernels::layout
