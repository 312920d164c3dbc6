// Before anything is read: which weight goes where in the model's memory, and how many bytes that
// takes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "format/config.h"
#include "kernels/api/backend.h"
#include "quant/coded_matrix.h"
#include "quant/weight_slot.h"
#include "tensor/role.h"
#include "tensor/source.h"

namespace mm2 {

/// The weights of a checkpoint that was checked, by what they do.
class DescribedWeights {
 public:
  DescribedWeights() = default;
  DescribedWeights(std::vector<WeightPlace> places, std::vector<WeightDescription> descriptions);

  struct Weight {
    const WeightPlace& place;
    const WeightDescription& description;
  };
  /// The one of that role, layer and expert (-1: none), or nothing.
  std::optional<Weight> find(Role role, int32_t layer, int32_t expert) const;
  size_t size() const { return places_.size(); }
  Weight operator[](size_t i) const { return {places_[i], descriptions_[i]}; }

 private:
  std::vector<WeightPlace> places_;
  std::vector<WeightDescription> descriptions_;  // as places_
  absl::flat_hash_map<uint64_t, size_t> by_key_;
};

/// One weight: its slot, its tensors, its place in memory.
struct PlannedWeight {
  WeightSlot slot;
  WeightPlace place;
  const TensorInfo* tensor = nullptr;  // of its codes
  kernels::Format format{};            // once loaded
  std::optional<CodedMatrix> coded;    // where it is quantised
  bool packed = false;                 // by the backend; otherwise row-major
  bool mapped = false;                 // used in the file's pages, no memory of its own
  uint64_t offset = 0;                 // in the model's memory, where not mapped
  uint64_t bytes = 0;
  int64_t rows_per_job = 1;   // a piece of the load, a multiple of the backend's pack_rows
  int64_t rows_per_tile = 1;  // decoded at a time, where it is quantised
};

struct WeightPlan {
  std::vector<PlannedWeight> weights;  // in the order of the model
  bool may_map = false;                // what is packed is read from the file's pages
  bool on_device = false;              // set before anything is added: nothing is used mapped
  uint64_t owned_bytes = 0;
  uint64_t mapped_bytes = 0;
  uint64_t staging_bytes = 0;  // of one worker
  uint64_t read_bytes = 0;     // of the files
};

/// Bytes that one worker reads at a time, about.
constexpr uint64_t kLoadPieceBytes = 4u << 20;

/// `slots` are those of one layer (layer >= 0) or of the model's ends (layer -1); appends to the
/// plan. Code::unsupported names tensor, scheme and numbers that the backend does not take.
Status plan_weights(const DescribedWeights& described, const TensorSource& source,
                    const kernels::Backend& backend, bool may_map, int32_t layer,
                    const std::vector<WeightSlot>& slots, WeightPlan& plan);

/// The bytes that piece [first_row, first_row + n_rows) of a weight reads.
uint64_t piece_read_bytes(const PlannedWeight& w, int64_t first_row, int64_t n_rows);

}  // namespace mm2
