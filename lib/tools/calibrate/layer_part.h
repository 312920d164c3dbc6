// Some weights of one layer, packed for a backend: a layer of the true model does not fit into the
// memory of a tool, its attention and a few of its experts do.
#pragma once

#include <memory>
#include <vector>

#include "base/executor.h"
#include "base/host.h"
#include "kernels/api/backend.h"
#include "model/weight_plan.h"
#include "tensor/buffer.h"

namespace mm2 {

struct LayerPart {
  kernels::LayerWeights weights{};
  std::vector<kernels::ExpertWeights> experts;  // those that were asked for

  /// The attention half, the norms and the router.
  static Result<std::unique_ptr<LayerPart>> load_dense(const DescribedWeights& described,
                                                       const TensorSource& source,
                                                       const kernels::Backend& backend,
                                                       int32_t layer, Executor& executor,
                                                       const Host& host);
  /// Experts [first, first + n).
  static Result<std::unique_ptr<LayerPart>> load_experts(const DescribedWeights& described,
                                                         const TensorSource& source,
                                                         const kernels::Backend& backend,
                                                         int32_t layer, int32_t first, int32_t n,
                                                         Executor& executor, const Host& host);

 private:
  Status load(const DescribedWeights& described, const TensorSource& source,
              const kernels::Backend& backend, int32_t layer, const std::vector<WeightSlot>& slots,
              Executor& executor, const Host& host);

  Buffer memory_;
};

}  // namespace mm2
