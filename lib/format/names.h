// Which tensor holds which weight: the official names and the aliases that other tools write.
//
//   official                               also accepted
//   block_sparse_moe.                      mlp.
//   experts.E.w1 / w3 / w2                 experts.E.gate_proj / up_proj / down_proj
//                                          (under either prefix)
//   experts.E.w1 + w3 of all E             mlp.experts.gate_up_proj
//                                          [n_experts, 2 * intermediate, hidden], w1's rows first
//   experts.E.w2 of all E                  mlp.experts.down_proj [n_experts, hidden, intermediate]
//   self_attn.q_proj + k_proj + v_proj     self_attn.qkv_proj, rows in this order
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/config.h"
#include "tensor/role.h"
#include "tensor/source.h"

namespace mm2 {

/// Where the weight lies: the first spelling of which the source has a tensor; `found` is false
/// (and the stem official) when it has none. layer and expert are -1 for roles that have none. A
/// tied lm_head lies where the embedding does.
WeightPlace locate(const ModelConfig& config, const TensorSource& source, Role role, int32_t layer,
                   int32_t expert);

constexpr int kMaxLost = 4096;

/// All weights that the configuration asks for, in the order of the model: embedding, per layer
/// norms, attention, router and experts, final norm, lm_head.
std::vector<WeightPlace> locate_all(const ModelConfig& config, const TensorSource& source);

/// Tensors that an execution of the model passes over on purpose: rotary inv_freq, MTP modules,
/// scales of queries and biases of a quantised KV cache (its own scales: quant/kv_scales.h).
bool is_ignored_name(const ModelConfig& config, std::string_view name);

/// Suffixes under which some scheme stores the codes of a matrix: ".weight", ".qweight",
/// ".weight_packed".
std::span<const std::string_view> code_suffixes();

}  // namespace mm2
