#include "format/names.h"

#include <array>

#include "absl/strings/numbers.h"

namespace mm2 {
namespace {

constexpr std::array<std::string_view, 3> kCodeSuffixes = {".weight", ".qweight", ".weight_packed"};
constexpr std::array<std::string_view, 2> kMoePrefixes = {"block_sparse_moe.", "mlp."};

bool has_stem(const TensorSource& source, const std::string& stem) {
  for (const std::string_view suffix : kCodeSuffixes) {
    if (source.find(join(stem, suffix)) != nullptr) return true;
  }
  return false;
}

Shape shape_of(const ModelConfig& c, Role role) {
  switch (role) {
    case Role::embedding:
    case Role::lm_head:
      return {c.n_vocab, c.hidden};
    case Role::final_norm:
    case Role::input_norm:
    case Role::post_attention_norm:
      return {c.hidden};
    case Role::q_norm:
      return {c.q_width()};
    case Role::k_norm:
      return {c.kv_width()};
    case Role::q_proj:
      return {c.q_width(), c.hidden};
    case Role::k_proj:
    case Role::v_proj:
      return {c.kv_width(), c.hidden};
    case Role::o_proj:
      return {c.hidden, c.q_width()};
    case Role::router:
      return {c.n_experts, c.hidden};
    case Role::router_bias:
      return {c.n_experts};
    case Role::w1:
    case Role::w3:
      return {c.intermediate, c.hidden};
    case Role::w2:
      return {c.hidden, c.intermediate};
  }
  return {};
}

// The last component of the official name of a role that is not of an expert, after
// "model.layers.N." where it has a layer.
std::string_view official_part(Role role) {
  switch (role) {
    case Role::embedding:
      return "model.embed_tokens";
    case Role::final_norm:
      return "model.norm";
    case Role::lm_head:
      return "lm_head";
    case Role::input_norm:
      return "input_layernorm";
    case Role::post_attention_norm:
      return "post_attention_layernorm";
    case Role::q_norm:
      return "self_attn.q_norm";
    case Role::k_norm:
      return "self_attn.k_norm";
    case Role::q_proj:
      return "self_attn.q_proj";
    case Role::k_proj:
      return "self_attn.k_proj";
    case Role::v_proj:
      return "self_attn.v_proj";
    case Role::o_proj:
      return "self_attn.o_proj";
    case Role::router:
      return "gate";
    case Role::router_bias:
      return "e_score_correction_bias";
    default:
      return "";
  }
}

struct ExpertNames {
  std::string_view official;
  std::string_view alias;
};

ExpertNames expert_names(Role role) {
  if (role == Role::w1) return {"w1", "gate_proj"};
  if (role == Role::w3) return {"w3", "up_proj"};
  return {"w2", "down_proj"};
}

void locate_expert(const ModelConfig& c, const TensorSource& source, const std::string& layer,
                   WeightPlace& place) {
  const auto [official, alias] = expert_names(place.role);
  const auto stem_of = [&](std::string_view prefix, std::string_view last) {
    return join(layer, prefix, "experts.", place.expert, ".", last);
  };
  place.stem = stem_of(kMoePrefixes[0], official);
  place.name = place.stem + ".weight";
  place.stored = place.shape;
  for (const std::string_view prefix : kMoePrefixes) {
    for (const std::string_view last : {official, alias}) {
      const std::string stem = stem_of(prefix, last);
      if (!has_stem(source, stem)) continue;
      place.stem = stem;
      place.found = true;
      return;
    }
  }
  const bool down = place.role == Role::w2;
  const int64_t rows = down ? c.hidden : 2 * int64_t{c.intermediate};
  for (const std::string_view prefix : kMoePrefixes) {
    const std::string fused = join(layer, prefix, "experts.", down ? "down_proj" : "gate_up_proj");
    if (source.find(fused) == nullptr) continue;
    place.stem = fused;
    place.bare = place.found = true;
    place.stored = {c.n_experts, rows, down ? c.intermediate : c.hidden};
    place.first_row = place.expert * rows + (place.role == Role::w3 ? c.intermediate : 0);
    return;
  }
}

void locate_router(const TensorSource& source, const std::string& layer, WeightPlace& place) {
  place.bare = place.role == Role::router_bias;
  place.stem = join(layer, kMoePrefixes[0], official_part(place.role));
  place.name = place.bare ? place.stem : place.stem + ".weight";
  for (const std::string_view prefix : kMoePrefixes) {
    const std::string stem = join(layer, prefix, official_part(place.role));
    if (place.bare ? source.find(stem) == nullptr : !has_stem(source, stem)) continue;
    place.stem = stem;
    place.found = true;
    return;
  }
}

// q, k and v may be the rows of one matrix, in this order.
void locate_fused_qkv(const ModelConfig& c, const TensorSource& source, const std::string& layer,
                      WeightPlace& place) {
  const std::string fused = layer + "self_attn.qkv_proj";
  if (!has_stem(source, fused)) return;
  place.stem = fused;
  place.found = true;
  place.stored = {c.q_width() + 2 * int64_t{c.kv_width()}, c.hidden};
  if (place.role == Role::k_proj) place.first_row = c.q_width();
  if (place.role == Role::v_proj) place.first_row = int64_t{c.q_width()} + c.kv_width();
}

}  // namespace

std::span<const std::string_view> code_suffixes() {
  return kCodeSuffixes;
}

WeightPlace locate(const ModelConfig& config, const TensorSource& source, Role role, int32_t layer,
                   int32_t expert) {
  WeightPlace place;
  place.role = role;
  place.layer = layer;
  place.expert = expert;
  place.shape = place.stored = shape_of(config, role);
  const std::string prefix = layer < 0 ? "" : join("model.layers.", layer, ".");
  if (role >= Role::w1) {
    locate_expert(config, source, prefix, place);
    return place;
  }
  if (role == Role::router || role == Role::router_bias) {
    locate_router(source, prefix, place);
    return place;
  }
  place.stem = join(prefix, official_part(role));
  place.name = place.stem + ".weight";
  place.found = has_stem(source, place.stem);
  if (!place.found && role >= Role::q_proj && role <= Role::v_proj) {
    locate_fused_qkv(config, source, prefix, place);
  }
  if (!place.found && role == Role::lm_head && config.tie_word_embeddings) {
    place.stem = official_part(Role::embedding);
    place.found = has_stem(source, place.stem);
  }
  return place;
}

std::vector<WeightPlace> locate_all(const ModelConfig& config, const TensorSource& source) {
  std::vector<WeightPlace> places;
  int n_lost = 0;
  const auto add = [&](Role role, int32_t layer, int32_t expert) {
    if (n_lost == kMaxLost) return;
    places.push_back(locate(config, source, role, layer, expert));
    n_lost += places.back().found ? 0 : 1;
  };
  add(Role::embedding, -1, -1);
  for (int32_t layer = 0; layer < config.n_layers && n_lost < kMaxLost; ++layer) {
    for (const Role role :
         {Role::input_norm, Role::q_proj, Role::k_proj, Role::v_proj, Role::q_norm, Role::k_norm,
          Role::o_proj, Role::post_attention_norm, Role::router, Role::router_bias}) {
      add(role, layer, -1);
    }
    for (int32_t expert = 0; expert < config.n_experts && n_lost < kMaxLost; ++expert) {
      for (const Role role : {Role::w1, Role::w2, Role::w3}) add(role, layer, expert);
    }
  }
  add(Role::final_norm, -1, -1);
  add(Role::lm_head, -1, -1);
  return places;
}

bool is_ignored_name(const ModelConfig& config, std::string_view name) {
  if (name.ends_with("rotary_emb.inv_freq")) return true;
  for (const std::string_view suffix : {".q_scale", ".k_bias", ".v_bias"}) {
    if (name.ends_with(suffix) && name.find(".self_attn.") != name.npos) return true;
  }
  for (size_t at = 0; at != name.npos;) {
    if (name.substr(at, 3) == "mtp") return true;
    at = name.find('.', at);
    if (at != name.npos) ++at;
  }
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return false;
  const std::string_view rest = name.substr(kLayers.size());
  int32_t layer = 0;
  return absl::SimpleAtoi(as_piece(rest.substr(0, rest.find('.'))), &layer) &&
         layer >= config.n_layers && layer - config.n_layers < config.n_mtp_modules;
}

}  // namespace mm2
