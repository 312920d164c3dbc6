// What the CPU backends' tables have in common: sizes, and a step that walks their operations.
#pragma once

#include "kernels/api/default_step.h"
#include "kernels/cpu/common/attention_tasks.h"
#include "kernels/cpu/common/experts.h"
#include "kernels/cpu/common/linear.h"
#include "kernels/cpu/common/router.h"
#include "kernels/cpu/layout/kv.h"
#include "kernels/cpu/layout/pack.h"

namespace mm2::kernels::common {

static inline int64_t kv_block_bytes(const ModelShape* s, int32_t block_size, int32_t number) {
  return layout::kv_block_bytes(*s, block_size, number);
}

/// The most that any operation needs.
static inline int64_t scratch_bytes(const ModelShape* s, int32_t max_tokens, int32_t n_workers) {
  const int64_t each[] = {linear_scratch(*s, max_tokens, n_workers),
                          attention_scratch(*s, n_workers), router_scratch(*s, max_tokens),
                          experts_scratch(*s, max_tokens, n_workers)};
  int64_t most = 0;
  for (const int64_t bytes : each) most = bytes > most ? bytes : most;
  return most;
}

/// A backend of this layout; `step_scratch_bytes` and `step` are those of default_step.h over `ops`.
static constexpr Backend cpu_backend(const char* name, void (*pack)(const MatrixRows*, void*),
                                     const Ops<float>* ops,
                                     int64_t (*step_scratch_bytes)(const ModelShape*, int32_t,
                                                                   int32_t, int32_t),
                                     int32_t (*step)(const StepPlan*)) {
  return {name,
          kF32,
          layout::packed_bytes,
          pack,
          layout::kBlockRows,
          false,
          kv_block_bytes,
          step_scratch_bytes,
          step,
          ops,
          layout::read_positions,
          layout::write_positions};
}

}  // namespace mm2::kernels::common
