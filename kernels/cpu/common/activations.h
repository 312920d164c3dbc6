// Activations inside an operation: rows of floats, already rounded as the caller asked (kI8: by
// `prepare`, where it is known which weights they meet), at a distance of activation_stride, which keeps rows of 3072 numbers out of each other's cache sets. Numbers from
// n_in up to a whole sum group are 0.
//
// The operations of this folder are templates over an Isa, a type of an unnamed namespace in each
// backend, so that no two backends share compiled code. Its functions are
//   prepare(w, x, n, activations, room, prepared)
//     makes what product reads of n <= kTokenGroup rows of activations, for any number of blocks;
//     room: room_bytes(w.n_in) of the worker's own, null where w is plain F32
//   product(w, block, prepared, activations, sums)
//     sums[t, i] = sum over k of w[64 block + i, k] * x[t][k] in the order of kernels/api/ops.h;
//     sums [n, 64], 64-byte aligned
#pragma once

#include "kernels/api/ops.h"
#include "kernels/api/parallel.h"
#include "kernels/cpu/common/int8_rows.h"
#include "kernels/cpu/layout/weights.h"

namespace mm2::kernels::common {

using layout::kBlockRows;
using layout::n_blocks;
using layout::round_up;

/// Tokens that share one reading of a block of weights.
constexpr int32_t kTokenGroup = 64;

static inline int32_t group_size(int64_t n_left) {
  return static_cast<int32_t>(n_left < kTokenGroup ? n_left : kTokenGroup);
}

static inline int64_t activation_stride(int64_t n_in) {
  return round_up(n_in, kSumGroup) + 16;
}

/// Zeros from n_in up to a whole sum group.
static inline void pad_row(float* row, int64_t n_in) {
  for (int64_t i = n_in; i < round_up(n_in, kSumGroup); ++i) row[i] = 0.0f;
}

/// Rows of x as they enter products, [n_tokens, activation_stride(n_in)] into `entered`.
static inline void enter_rows(const Executor* run, const float* x, int64_t n_tokens, int64_t n_in,
                              int32_t activations, float* entered) {
  const int64_t stride = activation_stride(n_in);
  const auto enter = [&](int64_t t, int32_t) {
    const float* from = x + t * n_in;
    float* to = entered + t * stride;
    if (activations == kBF16) {
      for (int64_t i = 0; i < n_in; ++i) to[i] = bf16_to_f32(f32_to_bf16(from[i]));
    } else {
      memcpy(to, from, static_cast<size_t>(n_in) * sizeof(float));
    }
    pad_row(to, n_in);
  };
  if (n_tokens < 8) {
    for (int64_t t = 0; t < n_tokens; ++t) enter(t, 0);
  } else {
    run_tasks(run, n_tokens, enter);
  }
}

/// Activations as Isa::product reads them.
struct Prepared {
  int32_t n;
  const float* rows[kTokenGroup];  // in the order of the packed columns, zeros up to a sum group
  const void* packed;              // whatever else the instruction set has made, in the room
  const float* scales;  // [n, int8_groups(n_in)] where products are those of kI8, else null
};

/// Groups of columns in which activations of kI8 share a scale.
static inline int64_t int8_groups(int64_t n_in) {
  return (n_in + kSumGroup - 1) / kSumGroup;
}

/// Rows at a distance of activation_stride, then a scale for each of their groups.
static inline int64_t room_bytes(int64_t n_in) {
  return kTokenGroup * (activation_stride(n_in) + int8_groups(n_in)) * int64_t{sizeof(float)};
}

static inline float* row_of_room(void* room, int64_t n_in, int32_t t) {
  return static_cast<float*>(room) + t * activation_stride(n_in);
}

/// Rows in the order of the packed columns of w: x itself, or copies in the room.
static inline void order_rows(const Matrix& w, const float* const* x, int32_t n, void* room,
                              Prepared* prepared) {
  prepared->n = n;
  prepared->packed = nullptr;
  prepared->scales = nullptr;
  const int32_t* order = layout::order_of(w);
  for (int32_t t = 0; t < n; ++t) {
    prepared->rows[t] = x[t];
    if (order == nullptr) continue;
    float* row = row_of_room(room, w.n_in, t);
    for (int64_t i = 0; i < w.n_in; ++i) row[i] = x[t][order[i]];
    pad_row(row, w.n_in);
    prepared->rows[t] = row;
  }
}

/// Whether what is prepared for one matrix will do for the other.
static inline bool same_preparation(const Matrix& a, const Matrix& b) {
  const Format &f = a.format, &g = b.format;
  return f.ordered == 0 && g.ordered == 0 && f.scheme == g.scheme && f.number == g.number &&
         f.bits == g.bits && f.zeros == g.zeros && f.patch_cols == g.patch_cols;
}

/// The rows of a preparation rounded to BF16 in the room, where they may be already.
static inline void round_rows(int64_t n_in, void* room, Prepared* prepared) {
  for (int32_t t = 0; t < prepared->n; ++t) {
    const float* from = prepared->rows[t];
    float* row = row_of_room(room, n_in, t);
    for (int64_t i = 0; i < n_in; ++i) row[i] = bf16_to_f32(f32_to_bf16(from[i]));
    pad_row(row, n_in);
    prepared->rows[t] = row;
  }
}

/// Rows x of kI8 for the integers of w: store(t, group, codes [128]) for each group; scales go to the
/// room.
template <typename Store>
static inline void quantize_rows(const Matrix& w, const float* const* x, int32_t n, void* room,
                                 Prepared* prepared, const Store& store) {
  const int64_t groups = int8_groups(w.n_in);
  const int32_t* order = layout::order_of(w);
  float* scales = row_of_room(room, w.n_in, kTokenGroup);
  prepared->n = n;
  prepared->scales = scales;
  for (int32_t t = 0; t < n; ++t) {
    for (int64_t g = 0; g < groups; ++g) {
      alignas(64) int32_t codes[kSumGroup];
      const int64_t k0 = g * kSumGroup, left = w.n_in - k0;
      scales[t * groups + g] =
          quantize_group(order == nullptr ? x[t] + k0 : x[t], order == nullptr ? order : order + k0,
                         left < kSumGroup ? left : kSumGroup, codes);
      store(t, g, codes);
    }
  }
}

/// `prepare` of instruction sets that read rows of floats: integers of kI8 are floats too.
static inline void prepare_floats(const Matrix& w, const float* const* x, int32_t n,
                                  int32_t activations, void* room, Prepared* prepared) {
  if (entering(w.format, activations) != kI8) {
    order_rows(w, x, n, room, prepared);
    if (activations == kI8) round_rows(w.n_in, room, prepared);
    return;
  }
  for (int32_t t = 0; t < n; ++t) prepared->rows[t] = row_of_room(room, w.n_in, t);
  quantize_rows(w, x, n, room, prepared, [&](int32_t t, int64_t g, const int32_t* codes) {
    float* to = row_of_room(room, w.n_in, t) + g * kSumGroup;
    for (int64_t i = 0; i < kSumGroup; ++i) to[i] = static_cast<float>(codes[i]);
  });
}

/// Consecutive blocks for one task, so that a worker reads long runs: a few tasks for each worker.
struct BlockRuns {
  int64_t blocks, per_task;
  int32_t n_tasks;

  BlockRuns(int64_t blocks_, int32_t n_workers)
      : blocks(blocks_),
        per_task((blocks_ + 4 * n_workers - 1) / (4 * n_workers)),
        n_tasks(static_cast<int32_t>((blocks_ + per_task - 1) / per_task)) {}
  int64_t first(int64_t task) const { return task * per_task; }
  int64_t end(int64_t task) const {
    const int64_t last = (task + 1) * per_task;
    return last < blocks ? last : blocks;
  }
};

/// Floats of scratch, cut off one after the other; from null it only counts.
struct Cutter {
  char* base;
  int64_t bytes = 0;

  template <typename T>
  T* take(int64_t n) {
    T* here = base == nullptr ? nullptr : reinterpret_cast<T*>(base + bytes);
    bytes += round_up(n * int64_t{sizeof(T)}, 64);
    return here;
  }
};

}  // namespace mm2::kernels::common
