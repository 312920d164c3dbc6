#pragma once

#include "kernels/api/math_f64.h"
#include "kernels/api/ops.h"
#include "kernels/api/parallel.h"

namespace mm2::kernels::common {

static inline void rope_table(const Executor* run, const RopeTableArgs<float>* a) {
  const int32_t n = a->rotary_dim / 2;
  const double log_theta = log_f64(a->theta);
  run_tasks(run, a->n_tokens, [&](int32_t t, int32_t) {
    float* row = a->table + int64_t{t} * a->rotary_dim;
    for (int32_t i = 0; i < n; ++i) {
      const double frequency = exp_f64(log_theta * (-2.0 * i / a->rotary_dim));
      const SinCos at = sin_cos_f64(a->positions[t] * frequency);
      row[i] = static_cast<float>(at.cos);
      row[n + i] = static_cast<float>(at.sin);
    }
  });
}

}  // namespace mm2::kernels::common
