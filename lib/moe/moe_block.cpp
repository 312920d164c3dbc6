#include "moe/moe_block.h"

namespace mm2 {

void append_moe_slots(kernels::LayerWeights& layer, std::span<kernels::ExpertWeights> experts,
                      std::vector<WeightSlot>& slots) {
  layer.experts = experts.data();
  slots.push_back({.role = Role::post_attention_norm, .vector = &layer.post_attention_norm});
  slots.push_back({.role = Role::router, .matrix = &layer.router, .as_f32 = true});
  slots.push_back({.role = Role::router_bias, .vector = &layer.router_bias});
  for (size_t e = 0; e < experts.size(); ++e) {
    const auto expert = static_cast<int32_t>(e);
    slots.push_back({.role = Role::w1, .expert = expert, .matrix = &experts[e].gate});
    slots.push_back({.role = Role::w3, .expert = expert, .matrix = &experts[e].up});
    slots.push_back({.role = Role::w2, .expert = expert, .matrix = &experts[e].down});
  }
}

}  // namespace mm2
