// Before anything is read: which weight goes where in the model's memory, and how many bytes that
// takes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "format/config.h"
#include "format/names.h"
#include "kernels/api/backend.h"
#include "quant/weight_slot.h"
#include "tensor/role.h"
#include "tensor/source.h"

namespace mm2 {

/// One weight: its slot, its tensor, its place in memory.
struct PlannedWeight {
  WeightSlot slot;
  WeightPlace place;
  const TensorInfo* tensor = nullptr;
  int32_t number = kernels::kF32;  // how it is stored once loaded
  bool packed = false;             // by the backend; otherwise row-major
  bool mapped = false;             // used in the file's pages, no memory of its own
  uint64_t offset = 0;             // in the model's memory, where not mapped
  uint64_t bytes = 0;
  int64_t rows_per_job = 1;  // a piece of the load, a multiple of the backend's pack_rows
};

struct WeightPlan {
  std::vector<PlannedWeight> weights;  // in the order of the model
  uint64_t owned_bytes = 0;
  uint64_t mapped_bytes = 0;
  uint64_t staging_bytes = 0;  // of one worker
  uint64_t read_bytes = 0;     // of the file
};

/// Bytes that one worker reads at a time, about.
constexpr uint64_t kLoadPieceBytes = 4u << 20;

/// `slots` are those of one layer (layer >= 0) or of the model's ends (layer -1); appends to the
/// plan. The checkpoint has been checked against the configuration.
Status plan_weights(const ModelConfig& config, const TensorSource& source,
                    const kernels::Backend& backend, bool may_map, int32_t layer,
                    const std::vector<WeightSlot>& slots, WeightPlan& plan);

}  // namespace mm2
