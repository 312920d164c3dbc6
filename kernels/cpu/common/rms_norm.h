#pragma once

#include "kernels/api/ops.h"
#include "kernels/api/parallel.h"
#include "kernels/cpu/common/vec.h"

namespace mm2::kernels::common {

static inline float sum_of_squares(const float* x, int64_t width) {
  F32x4 sum[4] = {};
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    for (int64_t v = 0; v < 4; ++v) {
      const F32x4 part = load4(x + i + 4 * v);
      sum[v] += part * part;
    }
  }
  alignas(16) float lanes[16];
  for (int64_t v = 0; v < 4; ++v) store4(lanes + 4 * v, sum[v]);
  for (int64_t lane = 0; i + lane < width; ++lane) lanes[lane] += x[i + lane] * x[i + lane];
  for (int64_t half = 8; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

/// One row; x and y may be the same. The order of additions stands in kernels/api/ops.h.
static inline void rms_norm_row(const float* x, const float* weight, float eps, int64_t width,
                                float* y) {
  const float mean = sum_of_squares(x, width) / static_cast<float>(width);
  const float scale = 1.0f / __builtin_sqrtf(mean + eps);
  for (int64_t i = 0; i < width; ++i) y[i] = x[i] * scale * weight[i];
}

static inline void rms_norm(const Executor* run, const RmsNormArgs<float>* a) {
  const auto one = [&](int64_t r, int32_t) {
    rms_norm_row(a->x + r * a->width, a->weight, a->eps, a->width, a->y + r * a->width);
  };
  if (a->n_rows < 8) {
    for (int64_t r = 0; r < a->n_rows; ++r) one(r, 0);
  } else {
    run_tasks(run, a->n_rows, one);
  }
}

}  // namespace mm2::kernels::common
