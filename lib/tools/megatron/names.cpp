#include "tools/megatron/names.h"

#include <array>

namespace mm2 {

namespace {

constexpr std::string_view kScale = "_scale_inv";
constexpr std::string_view kHfLayers = "model.layers.";
constexpr std::string_view kLayers = "decoder.layers.";
constexpr std::string_view kHfExperts = "block_sparse_moe.experts.";
constexpr std::string_view kExperts = "mlp.experts.";
constexpr std::string_view kLocalExperts = "mlp.experts.local_experts.";

struct Pair {
  std::string_view megatron, hf;
};

constexpr std::array kOutside = {
    Pair{"embedding.word_embeddings.weight", "model.embed_tokens.weight"},
    Pair{"decoder.final_layernorm.weight", "model.norm.weight"},
    Pair{"output_layer.weight", "lm_head.weight"},
};

// Behind the number of the layer; several rows of one Megatron name in the order of their rows.
constexpr std::array kInLayer = {
    Pair{"self_attention.linear_qkv.layer_norm_weight", "input_layernorm.weight"},
    Pair{"self_attention.linear_qkv.weight", "self_attn.q_proj.weight"},
    Pair{"self_attention.linear_qkv.weight", "self_attn.k_proj.weight"},
    Pair{"self_attention.linear_qkv.weight", "self_attn.v_proj.weight"},
    Pair{"self_attention.linear_proj.weight", "self_attn.o_proj.weight"},
    Pair{"self_attention.q_norm.weight", "self_attn.q_norm.weight"},
    Pair{"self_attention.k_norm.weight", "self_attn.k_norm.weight"},
    Pair{"pre_mlp_layernorm.weight", "post_attention_layernorm.weight"},
    Pair{"mlp.router.weight", "block_sparse_moe.gate.weight"},
    Pair{"mlp.router.expert_bias", "block_sparse_moe.e_score_correction_bias"},
};

constexpr std::array kInExpert = {
    Pair{"linear_fc1", "w1"},
    Pair{"linear_fc1", "w3"},
    Pair{"linear_fc2", "w2"},
};

constexpr std::array kNorms = {
    Pair{"self_attention.q_norm.weight", "self_attention.q_layernorm.weight"},
    Pair{"self_attention.k_norm.weight", "self_attention.k_layernorm.weight"},
};

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool take_suffix(std::string_view& text, std::string_view suffix) {
  if (text.size() < suffix.size() || text.substr(text.size() - suffix.size()) != suffix)
    return false;
  text.remove_suffix(suffix.size());
  return true;
}

// The digits that `text` begins with; empty for none, or for a number with a leading zero.
std::string_view take_number(std::string_view& text) {
  size_t n = 0;
  while (n < text.size() && text[n] >= '0' && text[n] <= '9') ++n;
  const std::string_view number = text.substr(0, n);
  if (n > 9 || (n > 1 && number[0] == '0')) return {};
  text.remove_prefix(n);
  return number;
}

// "N.rest" behind a prefix.
std::string_view take_layer(std::string_view& text, std::string_view prefix) {
  std::string_view rest = text;
  if (!take_prefix(rest, prefix)) return {};
  const std::string_view layer = take_number(rest);
  if (layer.empty() || !take_prefix(rest, ".")) return {};
  text = rest;
  return layer;
}

std::string_view spelled(std::string_view name, MegatronNames names) {
  for (const Pair& norm : kNorms) {
    if (name == norm.megatron || name == norm.hf) {
      return names == MegatronNames::slime ? norm.megatron : norm.hf;
    }
  }
  return name;
}

// "mlp.experts.local_experts.E.linear_fc1.weight" as "mlp.experts.linear_fc1.weightE".
std::string grouped(std::string_view name) {
  std::string_view rest = name;
  if (!take_prefix(rest, kLocalExperts)) return std::string(name);
  const std::string_view expert = take_number(rest);
  if (expert.empty() || !take_prefix(rest, ".")) return std::string(name);
  const bool scale = take_suffix(rest, kScale);
  return join(kExperts, rest, expert, scale ? kScale : "");
}

}  // namespace

std::string canonical_megatron_name(std::string_view name, MegatronNames names) {
  while (take_prefix(name, "module.")) continue;
  std::string_view rest = name;
  const std::string_view layer = take_layer(rest, kLayers);
  if (layer.empty()) return std::string(name);
  return join(kLayers, layer, ".", spelled(grouped(rest), names));
}

bool is_megatron_extra(std::string_view name) {
  for (const std::string_view part :
       {"_extra_state", "rotary_pos_emb.", "local_tokens_per_expert"}) {
    if (name.find(part) != std::string_view::npos) return true;
  }
  return false;
}

std::vector<std::string> hf_names_of(std::string_view megatron_name) {
  const std::string canonical = canonical_megatron_name(megatron_name, MegatronNames::slime);
  std::string_view rest = canonical;
  const std::string_view scale = take_suffix(rest, kScale) ? kScale : std::string_view();
  std::vector<std::string> found;
  const std::string_view layer = take_layer(rest, kLayers);
  if (layer.empty()) {
    for (const Pair& row : kOutside) {
      if (row.megatron == rest) found.push_back(join(row.hf, scale));
    }
    return found;
  }
  for (const Pair& row : kInLayer) {
    if (row.megatron == rest) found.push_back(join(kHfLayers, layer, ".", row.hf, scale));
  }
  for (const Pair& row : kInExpert) {
    std::string_view matrix = rest;
    if (!take_prefix(matrix, kExperts) || !take_prefix(matrix, row.megatron) ||
        !take_prefix(matrix, ".weight")) {
      continue;
    }
    const std::string_view expert = take_number(matrix);
    if (expert.empty() || !matrix.empty()) continue;
    found.push_back(join(kHfLayers, layer, ".", kHfExperts, expert, ".", row.hf, ".weight", scale));
  }
  return found;
}

std::string megatron_name_of(std::string_view hf_name, MegatronNames names) {
  const std::string_view scale = take_suffix(hf_name, kScale) ? kScale : std::string_view();
  for (const Pair& row : kOutside) {
    if (row.hf == hf_name) return join(row.megatron, scale);
  }
  const std::string_view layer = take_layer(hf_name, kHfLayers);
  if (layer.empty()) return {};
  for (const Pair& row : kInLayer) {
    if (row.hf == hf_name) return join(kLayers, layer, ".", spelled(row.megatron, names), scale);
  }
  if (!take_prefix(hf_name, kHfExperts)) return {};
  const std::string_view expert = take_number(hf_name);
  if (expert.empty() || !take_prefix(hf_name, ".") || !take_suffix(hf_name, ".weight")) return {};
  for (const Pair& row : kInExpert) {
    if (row.hf == hf_name) {
      return join(kLayers, layer, ".", kExperts, row.megatron, ".weight", expert, scale);
    }
  }
  return {};
}

}  // namespace mm2
