#include "kernels/api/parallel.h"
#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/generic/product.h"

namespace mm2::kernels::generic {
namespace {

// One block of rows for every token.
void multiply_block(const LinearArgs<float>& a, const float* entered, int64_t block) {
  alignas(64) float sums[kTokenGroup * kBlockRows];
  const float* x[kTokenGroup];
  const int64_t n_out = a.w->n_out;
  const int64_t row0 = block * kBlockRows;
  const int64_t n_rows = n_out - row0 < kBlockRows ? n_out - row0 : kBlockRows;
  const int64_t stride = activation_stride(a.w->n_in);
  for (int64_t t0 = 0; t0 < a.n_tokens; t0 += kTokenGroup) {
    const int32_t n = group_size(a.n_tokens - t0);
    for (int32_t t = 0; t < n; ++t) x[t] = entered + (t0 + t) * stride;
    block_product(*a.w, block, x, n, sums);
    for (int32_t t = 0; t < n; ++t) {
      const int64_t at = (t0 + t) * n_out + row0;
      const float* sum = sums + t * kBlockRows;
      for (int64_t i = 0; i < n_rows; ++i) {
        a.y[at + i] = a.add == nullptr ? sum[i] : a.add[at + i] + sum[i];
      }
    }
  }
}

}  // namespace

void linear(const Executor* run, const LinearArgs<float>* a) {
  float* entered = static_cast<float*>(a->scratch);
  enter_rows(run, a->x, a->n_tokens, a->w->n_in, a->activations, entered);
  const BlockRuns runs(n_blocks(a->w->n_out), run->n_workers);
  run_tasks(run, runs.n_tasks, [&](int32_t task, int32_t) {
    for (int64_t b = runs.first(task); b < runs.end(task); ++b) multiply_block(*a, entered, b);
  });
}

int64_t linear_scratch(const ModelShape& s, int64_t max_tokens) {
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t widest = s.hidden > q_width ? s.hidden : q_width;
  return max_tokens * activation_stride(widest) * int64_t{sizeof(float)};
}

}  // namespace mm2::kernels::generic
