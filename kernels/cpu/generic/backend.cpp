#include <algorithm>

#include "kernels/api/default_step.h"
#include "kernels/cpu/common/attention_tasks.h"
#include "kernels/cpu/common/experts.h"
#include "kernels/cpu/common/linear.h"
#include "kernels/cpu/common/router.h"
#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/layout/kv.h"
#include "kernels/cpu/layout/pack.h"

namespace mm2::kernels {
namespace {

int64_t kv_block_bytes(const ModelShape* s, int32_t block_size, int32_t number) {
  return layout::kv_block_bytes(*s, block_size, number);
}

int64_t scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t n_workers) {
  return std::max({common::linear_scratch(*s, max_tokens, n_workers),
                   common::attention_scratch(*s, n_workers), common::router_scratch(*s, max_tokens),
                   common::experts_scratch(*s, max_tokens, n_workers)});
}

constexpr Ops<float> kOps = {scratch_bytes,      generic::embed,      generic::rms_norm,
                             generic::linear,    generic::rope_table, generic::qkv,
                             generic::attention, generic::router,     generic::experts};

int64_t step_scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t max_outputs,
                           int32_t n_workers) {
  return default_scratch_bytes(kOps, *s, max_tokens, max_outputs, n_workers);
}

int32_t step(const StepPlan* plan) {
  return default_step(kOps, *plan);
}

}  // namespace

const Backend* generic_backend() {
  static constexpr Backend kBackend = {"generic",
                                       kF32,
                                       layout::packed_bytes,
                                       layout::pack,
                                       layout::kBlockRows,
                                       false,
                                       kv_block_bytes,
                                       step_scratch_bytes,
                                       step,
                                       &kOps,
                                       layout::read_positions,
                                       layout::write_positions};
  return &kBackend;
}

}  // namespace mm2::kernels
