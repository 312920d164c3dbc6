// Activations inside an operation: rows of floats, already rounded as the caller asked, at a distance
// of activation_stride, which keeps rows of 3072 numbers out of each other's cache sets. Numbers from
// n_in up to a whole sum group are 0.
//
// The operations of this folder are templates over an Isa, a type of an unnamed namespace in each
// backend, so that no two backends share compiled code. Its one function is
//   block_product(w, block, x, n_tokens, exact, sums)
//     sums[t, i] = sum over k of w[64 block + i, k] * x[t][k], t < n_tokens <= kTokenGroup, in the
//     order of kernels/api/ops.h; x[t] is in the order of the packed columns; sums [n_tokens, 64],
//     64-byte aligned; exact: the products of x with numbers of 16 bits need no rounding
#pragma once

#include "kernels/api/ops.h"
#include "kernels/api/parallel.h"
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

/// Tokens whose activations are brought into a matrix's own order at a time.
constexpr int32_t kRoomTokens = 8;
/// Floats of one worker's room for matrices of up to n_in columns.
static inline int64_t room_size(int64_t n_in) {
  return kRoomTokens * activation_stride(n_in);
}

/// Isa::block_product for x in the order of the activations; room [room_size(w.n_in)] is the
/// worker's own, null where w is never ordered.
template <typename Isa>
static inline void block_product(const Matrix& w, int64_t block, const float* const* x,
                                 int32_t n_tokens, int32_t activations, float* room, float* sums) {
  const bool exact = activations == kBF16;
  const int32_t* order = layout::order_of(w);
  if (order == nullptr) return Isa::block_product(w, block, x, n_tokens, exact, sums);
  const int64_t stride = activation_stride(w.n_in);
  for (int32_t t0 = 0; t0 < n_tokens; t0 += kRoomTokens) {
    const int32_t n = n_tokens - t0 < kRoomTokens ? n_tokens - t0 : kRoomTokens;
    const float* rows[kRoomTokens];
    for (int32_t t = 0; t < n; ++t) {
      float* row = room + t * stride;
      for (int64_t i = 0; i < w.n_in; ++i) row[i] = x[t0 + t][order[i]];
      pad_row(row, w.n_in);
      rows[t] = row;
    }
    Isa::block_product(w, block, rows, n, exact, sums + t0 * kBlockRows);
  }
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
