// Reads the planned weights into the model's memory: in file order, in parallel, through one
// bounded staging buffer a worker.
#pragma once

#include "base/executor.h"
#include "base/host.h"
#include "model/weight_memory.h"
#include "model/weight_plan.h"
#include "tensor/buffer.h"

namespace mm2 {

/// Fills `memory` (plan.owned_bytes) and `global_scales`, one of each weight of the plan. A failure
/// names file and tensor; cancelled when host.progress says so. Nothing is printed, nothing is left
/// running.
Status load_weights(const WeightPlan& plan, const TensorSource& source,
                    const kernels::Backend& backend, Executor& executor, const Host& host,
                    Buffer& memory, std::vector<float>& global_scales);

/// The same into memory that is there. What is on a device cannot be read later, so vectors that go
/// there are checked on their way: Code::format as below.
Status load_weights_into(const WeightPlan& plan, const TensorSource& source,
                         const kernels::Backend& backend, Executor& executor, const Host& host,
                         WeightMemory& memory, std::vector<float>& global_scales);

/// Points every slot of the plan at its weight in `memory`, which may be a device's. Code::format
/// names a vector in the host's memory that has a number which is not finite.
Status fill_slots(const WeightPlan& plan, const TensorSource& source, const std::byte* memory,
                  const std::vector<float>& global_scales);

}  // namespace mm2
