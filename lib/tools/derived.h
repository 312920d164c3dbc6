// Tensors of a checkpoint that is made from another one: what is carried over as it is.
#pragma once

#include <string>

#include "tools/stream/checkpoint_view.h"
#include "tools/stream/plan.h"

namespace mm2 {

/// "model.layers.0.self_attn.q_proj" of a matrix, from its official name.
std::string module_name(const ViewWeight& weight);

/// Whether the weight is the embedding once more: a tied lm_head, which has no tensor of its own.
bool is_tied(const CheckpointView& view, const ViewWeight& weight);

/// Copies all tensors that the weight is made of, under official names (`as`: under another module's
/// name than its own). Code::unsupported for quantised matrices that are rows of a fused tensor.
Status carry_over(const CheckpointView& view, const ViewWeight& weight, WritePlan& plan,
                  const std::string& as = {});

/// Copies a tensor that no weight is made of.
void carry_over(const CheckpointView& view, const TensorInfo& tensor, WritePlan& plan);

}  // namespace mm2
