#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/blocks.h"

namespace mm2::kernels::avx512 {

void linear(const Executor* run, const LinearArgs<float>* a, bool pairs) {
  const Matrix& w = *a->w;
  const Packing packing = packing_of(w, a->activations, pairs);
  const Chunks chunks(a->n_tokens, w.n_in, static_cast<float*>(a->scratch));
  pack_chunks(run, packing, a->x, chunks);

  const Runs runs(n_blocks(w.n_out), 4 * run->n_workers, a->n_tokens);
  run_tasks(run, chunks.parts.count * runs.count, [&](int32_t task, int32_t) {
    const int64_t chunk = task / runs.count, i = task % runs.count;
    const Rows x{chunks.at(chunk), chunks.parts.size(chunk), packing};
    multiply_blocks(
        w, runs.first(i), runs.end(i), x, [&](int64_t block, int64_t t, const float* sums) {
          const int64_t at = (chunks.parts.first(chunk) + t) * w.n_out + block * kBlockRows;
          const int64_t n = rows_of_block(w.n_out, block);
          for (int64_t j = 0; j < n; ++j) {
            a->y[at + j] = a->add == nullptr ? sums[j] : a->add[at + j] + sums[j];
          }
        });
  });
}

int64_t linear_scratch(const ModelShape& s, int64_t max_tokens) {
  const int64_t q_width = int64_t{s.n_heads} * s.head_dim;
  const int64_t widest = s.hidden > q_width ? s.hidden : q_width;
  return max_tokens * packed_row_size(widest) * int64_t{sizeof(float)};
}

}  // namespace mm2::kernels::avx512
