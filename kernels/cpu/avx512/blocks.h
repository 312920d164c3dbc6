// How operations are cut into tasks, and what they do with a block's sums.
#pragma once

#include "kernels/api/parallel.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

using layout::kBlockRows;
using layout::n_blocks;

/// Multiplies blocks [from, end) of w: use(block, t, sums [64]) for each row of x.
template <typename Use>
inline void multiply_blocks(const Matrix& w, int64_t from, int64_t end, const Rows& x,
                            const Use& use) {
  alignas(64) float sums[kMostRows * kBlockRows];
  const int64_t together = blocks_together(x.n);
  for (int64_t block = from; block < end; block += together) {
    const int64_t n = end - block < together ? end - block : together;
    product(w, block, n, x, sums);
    for (int64_t i = 0; i < n * x.n; ++i) use(block + i / x.n, i % x.n, sums + i * kBlockRows);
  }
}

/// Outputs of a block, less what only fills it up.
inline int64_t rows_of_block(int64_t n_out, int64_t block) {
  const int64_t left = n_out - block * kBlockRows;
  return left < kBlockRows ? left : kBlockRows;
}

/// Consecutive blocks for one task, so that a worker reads long runs: about `tasks` runs. One row of
/// activations reads whole bundles.
struct Runs {
  int64_t blocks, per_task, count;

  Runs(int64_t blocks_, int64_t tasks, int32_t n_rows) : blocks(blocks_) {
    per_task = (blocks + tasks - 1) / tasks;
    const int64_t together = blocks_together(n_rows);
    if (per_task > together / 2) per_task = layout::round_up(per_task, together);
    count = (blocks + per_task - 1) / per_task;
  }
  int64_t first(int64_t i) const { return i * per_task; }
  int64_t end(int64_t i) const { return (i + 1) * per_task < blocks ? (i + 1) * per_task : blocks; }
};

/// Rows of x [n, n_in] packed in chunks, one after the other at `packed`.
struct Chunks {
  Parts parts;
  int64_t row_size;
  float* packed;

  Chunks(int64_t n, int64_t n_in, float* packed_)
      : parts(n, rows_together(n_in)), row_size(packed_row_size(n_in)), packed(packed_) {}
  float* at(int64_t i) const { return packed + parts.first(i) * row_size; }
};

/// Few enough numbers that packing them is not worth a task for each worker.
constexpr int64_t kFewNumbers = 16384;

inline void pack_chunks(const Executor* run, const Packing& packing, const float* x,
                        const Chunks& chunks) {
  const int64_t panels = n_panels(packing.n_in), count = chunks.parts.count;
  const int64_t pieces = chunks.parts.n * packing.n_in <= kFewNumbers ? 1
                         : count >= 4 * run->n_workers                ? 1
                         : panels < 8                                 ? panels
                                                                      : 8;
  const auto pack = [&](int64_t task, int32_t) {
    const int64_t chunk = task / pieces, piece = task % pieces;
    const float* rows[kMostRows];
    const int32_t n = chunks.parts.size(chunk);
    for (int32_t t = 0; t < n; ++t) rows[t] = x + (chunks.parts.first(chunk) + t) * packing.n_in;
    pack_rows(packing, rows, n, panels * piece / pieces, panels * (piece + 1) / pieces,
              chunks.at(chunk));
  };
  run_tasks(run, count * pieces, pack);
}

}  // namespace
}  // namespace mm2::kernels::avx512
