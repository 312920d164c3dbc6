// The expert half of a layer: norm, router with its selection bias, experts.
#pragma once

#include <span>
#include <vector>

#include "kernels/api/backend.h"
#include "quant/weight_slot.h"

namespace mm2 {

/// The slots of the weights that this half reads. They point into `layer` and `experts`
/// [n_experts], which become layer.experts and must not move while they are filled.
void append_moe_slots(kernels::LayerWeights& layer, std::span<kernels::ExpertWeights> experts,
                      std::vector<WeightSlot>& slots);

}  // namespace mm2
