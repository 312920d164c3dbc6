// One weight of several parents into one output weight: what the verb `merge` puts into its plan.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tools/merge/slab_merge.h"
#include "tools/quantize/quantize.h"
#include "tools/stream/checkpoint_view.h"
#include "tools/stream/plan.h"

namespace mm2 {

/// How a weight is stored in the output.
enum class MergedKind : uint8_t { f32, f16, bf16, fp8 };
std::string_view merged_kind_name(MergedKind kind);

/// As it is stored in a checkpoint, if that is one of them: plain, or FP8 in blocks of 128 x 128 with
/// F32 scales beside.
std::optional<MergedKind> stored_kind(const ViewWeight& weight);

struct MergedWeight {
  std::string name;  // official
  MergeRule rule;
  std::vector<std::shared_ptr<CheckpointView>> views;  // of the rule's parents
  std::vector<const ViewWeight*> parents;              // of `views`
  MergedKind kind = MergedKind::bf16;
  Fp8Rule fp8_rule = Fp8Rule::mse;
  int64_t whole_numbers = 8 << 20;  // up to so many numbers the weight is one piece
  int64_t slab_numbers = 4 << 20;   // else slabs of about so many, in multiples of 128 rows
};

/// Adds the output tensors and the pieces that fill them. Small weights are one piece; large ones are
/// merged in slabs of rows, whose scans the first piece to come makes for all, while the others wait:
/// these go to `later`, to be added when all weights are planned. `index` goes into the notes.
void plan_merged(MergedWeight weight, size_t index, WritePlan& plan, std::vector<Piece>& later);

/// Adds the weight as `view` stores it, under its official name. Its stored_kind must be one.
Status plan_copied(const std::shared_ptr<CheckpointView>& view, const ViewWeight& weight,
                   WritePlan& plan);

/// What the pieces of one weight noted, put together.
struct MergedNote {
  bool merged = false;
  double aa = 0, bb = 0, dd = 0, max_error = 0;  // of the merged numbers and of what is stored
  uint64_t n = 0, n_equal = 0, n_saturated = 0;
  Json facts;  // "cos", "arc", "coefficients"
};
std::vector<MergedNote> gather_notes(std::span<const Json> notes, size_t n_weights);

}  // namespace mm2
