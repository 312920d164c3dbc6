#include <algorithm>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/checked.h"
#include "tools/megatron/layout.h"

namespace mm2 {

namespace {

void add_matrix(std::vector<HfTensor>& all, std::string name, int64_t n_rows, int64_t n_cols,
                bool fp8) {
  constexpr int64_t kBlock = 128;
  all.push_back({name, n_rows, n_cols, false, {}});
  if (fp8) {
    all.push_back(
        {name + "_scale_inv", ceil_div(n_rows, kBlock), ceil_div(n_cols, kBlock), false, {}});
  }
}

}  // namespace

std::vector<HfTensor> hf_tensors(const MegatronModel& model) {
  std::vector<HfTensor> all;
  const auto vector = [&](std::string name, int64_t n) {
    all.push_back({std::move(name), n, 1, true, {}});
  };
  const auto matrix = [&](std::string name, int64_t n_rows, int64_t n_cols, bool fp8) {
    add_matrix(all, std::move(name), n_rows, n_cols, fp8);
  };
  matrix("model.embed_tokens.weight", model.n_vocab, model.hidden, false);
  for (int32_t layer = 0; layer < model.n_layers; ++layer) {
    const std::string here = join("model.layers.", layer, ".");
    const std::string attention = here + "self_attn.", moe = here + "block_sparse_moe.";
    vector(here + "input_layernorm.weight", model.hidden);
    matrix(attention + "q_proj.weight", model.q_width(), model.hidden, model.fp8_attention);
    matrix(attention + "k_proj.weight", model.kv_width(), model.hidden, model.fp8_attention);
    matrix(attention + "v_proj.weight", model.kv_width(), model.hidden, model.fp8_attention);
    matrix(attention + "o_proj.weight", model.hidden, model.q_width(), model.fp8_attention);
    vector(attention + "q_norm.weight", model.q_width());
    vector(attention + "k_norm.weight", model.kv_width());
    vector(here + "post_attention_layernorm.weight", model.hidden);
    matrix(moe + "gate.weight", model.n_experts, model.hidden, false);
    vector(moe + "e_score_correction_bias", model.n_experts);
    for (int32_t e = 0; e < model.n_experts; ++e) {
      const std::string expert = join(moe, "experts.", e, ".");
      matrix(expert + "w1.weight", model.intermediate, model.hidden, model.fp8_experts);
      matrix(expert + "w2.weight", model.hidden, model.intermediate, model.fp8_experts);
      matrix(expert + "w3.weight", model.intermediate, model.hidden, model.fp8_experts);
    }
  }
  vector("model.norm.weight", model.hidden);
  if (!model.tied) matrix("lm_head.weight", model.n_vocab, model.hidden, false);
  return all;
}

Result<std::vector<HfTensor>> assemble(const MegatronModel& model,
                                       std::span<const std::vector<MegatronTensor>> ranks) {
  std::vector<HfTensor> all = hf_tensors(model);
  absl::flat_hash_map<std::string, size_t> by_name;
  for (size_t i = 0; i < all.size(); ++i) by_name.emplace(all[i].name, i);
  // Ranks that hold a block twice (copies of norms, routers, key heads) cut it at the same places.
  absl::flat_hash_set<std::tuple<size_t, int64_t, int64_t>> taken;
  std::vector<int64_t> covered(all.size(), 0);
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    for (size_t t = 0; t < ranks[rank].size(); ++t) {
      for (const BlockMove& move : ranks[rank][t].moves) {
        const auto found = by_name.find(move.hf);
        if (found == by_name.end()) {
          return error(Code::internal, "layout: ", ranks[rank][t].name, " is made of ", move.hf,
                       ", which the model does not have");
        }
        if (!taken.insert({found->second, move.hf_row, move.hf_col}).second) continue;
        all[found->second].from.push_back({static_cast<int32_t>(rank), static_cast<int32_t>(t),
                                           move.row, move.col, move.hf_row, move.hf_col,
                                           move.n_rows, move.n_cols});
        covered[found->second] += move.n_rows * move.n_cols;
      }
    }
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (covered[i] != all[i].n_rows * all[i].n_cols) {
      return error(Code::internal, "layout: the ranks hold ", covered[i], " of the ",
                   all[i].n_rows * all[i].n_cols, " elements of ", all[i].name);
    }
  }
  return all;
}

}  // namespace mm2
