// What Megatron calls the tensors of a checkpoint, in the spellings that are about.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/megatron/layout.h"

namespace mm2 {

/// The name without "module." in front (models wrapped for training have it once or twice), experts
/// always as in "mlp.experts.linear_fc1.weight3" (also where "local_experts.3.linear_fc1.weight" was
/// said), QK-norms as `names` spells them.
std::string canonical_megatron_name(std::string_view name, MegatronNames names);

/// Tensors that training keeps beside the weights: extra states, rotary tables, token counters.
bool is_megatron_extra(std::string_view name);

/// The tensors of the checkpoint that one of Megatron is made of, in this order: q, k, v; w1, w3; else
/// one. Takes both spellings; layer and expert numbers are kept. Empty for a name that is none.
std::vector<std::string> hf_names_of(std::string_view megatron_name);

/// The way back: the tensor of Megatron that holds this one. Empty for a name that is none.
std::string megatron_name_of(std::string_view hf_name, MegatronNames names);

}  // namespace mm2
