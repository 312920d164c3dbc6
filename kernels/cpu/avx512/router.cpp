#include "kernels/cpu/common/router.h"

#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/blocks.h"

namespace mm2::kernels::avx512 {
namespace {

void choose(const RouterArgs<float>& a, const float* scores, int64_t t) {
  const ModelShape& s = *a.shape;
  int32_t* ids = a.ids + t * s.top_k;
  float* weights = a.weights + t * s.top_k;
  common::select_experts(scores, a.bias, s.n_experts, s.top_k, ids);
  float sum = 0.0f;
  for (int32_t i = 0; i < s.top_k; ++i) sum += scores[ids[i]];
  for (int32_t i = 0; i < s.top_k; ++i) weights[i] = scores[ids[i]] / sum;
}

}  // namespace

void router(const Executor* run, const RouterArgs<float>* a) {
  const ModelShape& s = *a->shape;
  const Packing packing = packing_of(*a->gate, kF32, false);
  float* scores = static_cast<float*>(a->scratch);  // [n_tokens, n_experts]
  float* packed = scores + layout::round_up(int64_t{a->n_tokens} * s.n_experts, 16);
  const Chunks chunks(a->n_tokens, s.hidden, packed);
  pack_chunks(run, packing, a->x, chunks);

  const Runs runs(n_blocks(s.n_experts), 4 * run->n_workers, a->n_tokens);
  run_tasks(run, chunks.parts.count * runs.count, [&](int32_t task, int32_t) {
    const int64_t chunk = task / runs.count, i = task % runs.count;
    const Rows x{chunks.at(chunk), chunks.parts.size(chunk), packing};
    const auto store = [&](int64_t block, int64_t t, const float* sums) {
      float* to = scores + (chunks.parts.first(chunk) + t) * s.n_experts + block * kBlockRows;
      const int64_t n = rows_of_block(s.n_experts, block);
      for (int64_t j = 0; j < n; ++j) to[j] = sigmoid_f32(sums[j]);
    };
    multiply_blocks(*a->gate, runs.first(i), runs.end(i), x, store);
  });
  const auto one = [&](int64_t t, int32_t) { choose(*a, scores + t * s.n_experts, t); };
  if (a->n_tokens < 4) {
    for (int64_t t = 0; t < a->n_tokens; ++t) one(t, 0);
  } else {
    run_tasks(run, a->n_tokens, one);
  }
}

int64_t router_scratch(const ModelShape& s, int64_t max_tokens) {
  const int64_t floats =
      layout::round_up(max_tokens * s.n_experts, 16) + max_tokens * packed_row_size(s.hidden);
  return floats * int64_t{sizeof(float)};
}

}  // namespace mm2::kernels::avx512
