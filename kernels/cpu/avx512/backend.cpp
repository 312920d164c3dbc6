#include "kernels/cpu/common/backend.h"

#include "kernels/cpu/avx512/avx512.h"

namespace mm2::kernels {
namespace {

int64_t scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t n_workers) {
  const int64_t each[] = {
      avx512::linear_scratch(*s, max_tokens), avx512::qkv_scratch(*s, max_tokens),
      common::attention_scratch(*s, n_workers), avx512::router_scratch(*s, max_tokens),
      avx512::experts_scratch(*s, max_tokens, n_workers)};
  int64_t most = 0;
  for (const int64_t bytes : each) most = bytes > most ? bytes : most;
  return most;
}

template <bool pairs>
constexpr Ops<float> kOps = {
    scratch_bytes,
    avx512::embed,
    avx512::rms_norm,
    [](const Executor* run, const LinearArgs<float>* a) { avx512::linear(run, a, pairs); },
    avx512::rope_table,
    [](const Executor* run, const QkvArgs<float>* a) { avx512::qkv(run, a, pairs); },
    avx512::attention,
    avx512::router,
    [](const Executor* run, const ExpertsArgs<float>* a) { avx512::experts(run, a, pairs); }};

int64_t step_scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t max_outputs,
                           int32_t n_workers) {
  return default_scratch_bytes(kOps<false>, *s, max_tokens, max_outputs, n_workers);
}

template <bool pairs>
int32_t step(const StepPlan* plan) {
  return default_step(kOps<pairs>, *plan);
}

template <bool pairs>
constexpr Backend kBackend = [] {
  Backend b = common::cpu_backend(pairs ? "avx512_pairs" : "avx512", avx512::pack, &kOps<pairs>,
                                  step_scratch_bytes, step<pairs>);
  b.code_layouts = 1 << kNibblesOfRows | 1 << kNibblesOfWords | 1 << kNibblesOfEight;
  return b;
}();

}  // namespace

const Backend* avx512_backend() {
  return &kBackend<false>;
}

const Backend* avx512_pairs_backend() {
  return &kBackend<true>;
}

}  // namespace mm2::kernels
