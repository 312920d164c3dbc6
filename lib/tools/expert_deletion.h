// The plan of a checkpoint without some of its experts: tensors copied and renamed, rows of routers
// left out, and every place of the configuration that counts or names experts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "tools/experts/mask.h"
#include "tools/stream/checkpoint_view.h"
#include "tools/stream/plan.h"

namespace mm2 {

/// "model.layers.3.block_sparse_moe.experts.17.w1.weight", or under "mlp.": its numbers, and what stands
/// before and behind the second.
struct ExpertName {
  int32_t layer = 0, expert = 0;
  std::string_view before, behind;
};
std::optional<ExpertName> parse_expert_name(std::string_view name);

struct DeletionCounts {
  size_t copied = 0, renamed = 0, dropped = 0, sliced = 0, stripped = 0;
  Json report() const;
};

/// Fills plan.tensors, plan.pieces, and config.json and its quantization files in plan.files. Experts
/// that stay are renumbered in ascending order; no number is computed. k_bias and v_bias of the KV cache
/// (which engines do not use) are left out with strip_kv_bias. Code::invalid_argument: a mask for another
/// model, fewer experts than a token is sent to; Code::unsupported: a router tensor without a row for
/// each expert, experts in MTP modules.
Result<DeletionCounts> plan_expert_deletion(const CheckpointView& view, const ExpertMask& mask,
                                            bool strip_kv_bias, const Host& host, WritePlan& plan);

}  // namespace mm2
