#include "kernels/cpu/common/backend.h"

#include "kernels/cpu/avx512/avx512.h"

namespace mm2::kernels {
namespace {

constexpr Ops<float> kOps = {common::scratch_bytes, avx512::embed,      avx512::rms_norm,
                             avx512::linear,        avx512::rope_table, avx512::qkv,
                             avx512::attention,     avx512::router,     avx512::experts};

int64_t step_scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t max_outputs,
                           int32_t n_workers) {
  return default_scratch_bytes(kOps, *s, max_tokens, max_outputs, n_workers);
}

int32_t step(const StepPlan* plan) {
  return default_step(kOps, *plan);
}

}  // namespace

const Backend* avx512_backend() {
  static constexpr Backend kBackend =
      common::cpu_backend("avx512", &kOps, step_scratch_bytes, step);
  return &kBackend;
}

}  // namespace mm2::kernels
