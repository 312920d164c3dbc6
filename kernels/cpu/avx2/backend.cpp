#include "kernels/cpu/common/backend.h"

#include "kernels/cpu/avx2/avx2.h"

namespace mm2::kernels {
namespace {

constexpr Ops<float> kOps = {common::scratch_bytes, avx2::embed,      avx2::rms_norm,
                             avx2::linear,          avx2::rope_table, avx2::qkv,
                             avx2::attention,       avx2::router,     avx2::experts};

int64_t step_scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t max_outputs,
                           int32_t n_workers) {
  return default_scratch_bytes(kOps, *s, max_tokens, max_outputs, n_workers);
}

int32_t step(const StepPlan* plan) {
  return default_step(kOps, *plan);
}

}  // namespace

const Backend* avx2_backend() {
  static constexpr Backend kBackend =
      common::cpu_backend("avx2", avx2::pack, &kOps, step_scratch_bytes, step);
  return &kBackend;
}

}  // namespace mm2::kernels
