// A callable run by an Executor: run_tasks(executor, n, [&](int32_t task, int32_t worker) {...}).
#pragma once

#include "kernels/api/types.h"

namespace mm2::kernels {

template <typename F>
static inline void run_tasks(const Executor* executor, int64_t n_tasks, const F& task) {
  if (n_tasks <= 0) return;
  executor->parallel_for(
      executor->self, static_cast<int32_t>(n_tasks),
      [](void* context, int32_t i, int32_t worker) {
        (*static_cast<const F*>(context))(i, worker);
      },
      const_cast<F*>(&task));
}

}  // namespace mm2::kernels
