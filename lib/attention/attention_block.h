// The attention half of a layer: norm, q/k/v with QK-norm, o.
#pragma once

#include <vector>

#include "kernels/api/backend.h"
#include "quant/weight_slot.h"

namespace mm2 {

/// The slots of the weights that this half reads. They point into `layer`, which must not move
/// while they are filled.
void append_attention_slots(kernels::LayerWeights& layer, std::vector<WeightSlot>& slots);

}  // namespace mm2
