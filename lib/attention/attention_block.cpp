#include "attention/attention_block.h"

namespace mm2 {

void append_attention_slots(kernels::LayerWeights& layer, std::vector<WeightSlot>& slots) {
  slots.push_back({.role = Role::input_norm, .vector = &layer.input_norm});
  slots.push_back({.role = Role::q_proj, .matrix = &layer.q});
  slots.push_back({.role = Role::k_proj, .matrix = &layer.k});
  slots.push_back({.role = Role::v_proj, .matrix = &layer.v});
  slots.push_back({.role = Role::q_norm, .vector = &layer.q_norm});
  slots.push_back({.role = Role::k_norm, .vector = &layer.k_norm});
  slots.push_back({.role = Role::o_proj, .matrix = &layer.o});
}

}  // namespace mm2
