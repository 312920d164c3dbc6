// The one inner product: everything that multiplies by weights goes through it, so that one token
// and a thousand get the same bits.
#pragma once

#include "kernels/cpu/generic/layout.h"

namespace mm2::kernels::generic {

/// Tokens that share one reading of a block of weights.
constexpr int32_t kTokenGroup = 64;

static inline int32_t group_size(int64_t n_left) {
  return static_cast<int32_t>(n_left < kTokenGroup ? n_left : kTokenGroup);
}

/// Tokens whose activations are brought into a matrix's own order at a time.
constexpr int32_t kRoomTokens = 8;
/// Floats of one worker's room for matrices of up to n_in columns.
static inline int64_t room_size(int64_t n_in) {
  return kRoomTokens * activation_stride(n_in);
}

/// sums[t, i] = sum over k of w[64 block + i, k] * x[t][k], t < n_tokens <= kTokenGroup.
/// x[t]: activations laid out as in layout.h; room [room_size(w.n_in)], the worker's own; sums
/// [n_tokens, 64], 16-byte aligned. Order of additions: kernels/api/ops.h.
void block_product(const Matrix& w, int64_t block, const float* const* x, int32_t n_tokens,
                   float* room, float* sums);

/// Several chains side by side, the sums of attention too: for t < n <= kTile and each lane,
/// sums[t][lane] += values[step][lane] * factors[step][t], steps ascending, each product rounded.
/// lanes: a multiple of 8. values [n_steps, lanes] at distance value_stride; sums at distance
/// sum_stride; factors [n_steps, n, 4]: each four times.
constexpr int32_t kTile = 4;
void add_products(const float* values, int64_t value_stride, int64_t lanes, const float* factors,
                  int64_t n_steps, int32_t n, float* sums, int64_t sum_stride);

/// Rows of x as they enter products, [n_tokens, activation_stride(n_in)] into `entered`.
void enter_rows(const Executor* run, const float* x, int64_t n_tokens, int64_t n_in,
                int32_t activations, float* entered);

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

}  // namespace mm2::kernels::generic
