#include "kernels/cpu/common/qkv.h"

#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/blocks.h"

namespace mm2::kernels::avx512 {
namespace {

/// One of the three matrices and the activations packed for it.
struct Projection {
  common::QkvTarget to;
  Packing packing;
  Chunks chunks;
};

void project(const Projection& p, int64_t chunk, int64_t from, int64_t end) {
  const Rows x{p.chunks.at(chunk), p.chunks.parts.size(chunk), p.packing};
  const Matrix& w = *p.to.w;
  multiply_blocks(w, from, end, x, [&](int64_t block, int64_t t, const float* sums) {
    float* y = p.to.y + (p.chunks.parts.first(chunk) + t) * p.to.stride + block * kBlockRows;
    memcpy(y, sums, static_cast<size_t>(rows_of_block(w.n_out, block)) * sizeof(float));
  });
}

}  // namespace

void qkv(const Executor* run, const QkvArgs<float>* a, bool pairs) {
  const common::QkvBlocks list(*a);
  const int64_t hidden = a->shape->hidden;
  const auto projection = [&](int which) {
    const common::QkvTarget& to = list.targets[which];
    float* packed = static_cast<float*>(a->scratch) + which * a->n_tokens * packed_row_size(hidden);
    return Projection{to, packing_of(*to.w, a->activations, pairs),
                      Chunks(a->n_tokens, hidden, packed)};
  };
  Projection all[] = {projection(0), projection(1), projection(2)};
  for (int i = 0; i < 3; ++i) {
    int same = 0;
    while (same < i && !same_packing(all[same].packing, all[i].packing)) ++same;
    all[i].chunks.packed = all[same].chunks.packed;
    if (same == i) pack_chunks(run, all[i].packing, a->x, all[i].chunks);
  }

  const Runs runs(list.first[3], 4 * run->n_workers, a->n_tokens);
  run_tasks(run, all[0].chunks.parts.count * runs.count, [&](int32_t task, int32_t) {
    const int64_t chunk = task / runs.count, i = task % runs.count;
    for (int which = 0; which < 3; ++which) {
      const int64_t b0 = list.first[which], b1 = list.first[which + 1];
      const int64_t low = runs.first(i) > b0 ? runs.first(i) : b0;
      const int64_t high = runs.end(i) < b1 ? runs.end(i) : b1;
      if (low < high) project(all[which], chunk, low - b0, high - b0);
    }
  });

  // norm, rotation, cache
  run_tasks(run, a->n_tokens, [&](int32_t t, int32_t) {
    const StepRow* row = a->rows;
    for (; row->first_token + row->n_tokens <= t; ++row) {
    }
    common::finish_token(*a, *row, t);
  });
}

int64_t qkv_scratch(const ModelShape& s, int64_t max_tokens) {
  return 3 * max_tokens * packed_row_size(s.hidden) * int64_t{sizeof(float)};
}

}  // namespace mm2::kernels::avx512
