#include "tools/megatron/layout.h"

#include <algorithm>
#include <array>

#include "base/checked.h"

namespace mm2 {

namespace {

constexpr int64_t kBlock = 128;
constexpr int32_t kMostRanks = 65536;

std::string padded(int32_t value, size_t width) {
  const std::string text = join(value);
  return join(std::string(width - std::min(width, text.size()), '0'), text);
}

Status divides(const char* what, int64_t number, const char* parts, int64_t n) {
  if (number % n == 0) return {};
  return error(Code::invalid_argument, what, " of ", number, " cannot be split into ", n,
               " equal parts (", parts, " = ", n, ")");
}

Status check_model(const MegatronModel& model) {
  const std::array<std::pair<const char*, int32_t>, 8> all = {{{"n_layers", model.n_layers},
                                                               {"hidden", model.hidden},
                                                               {"n_heads", model.n_heads},
                                                               {"n_kv_heads", model.n_kv_heads},
                                                               {"head_dim", model.head_dim},
                                                               {"n_experts", model.n_experts},
                                                               {"intermediate", model.intermediate},
                                                               {"n_vocab", model.n_vocab}}};
  for (const auto& [name, value] : all) {
    if (value < 1)
      return error(Code::invalid_argument, name, " is ", value, ", wanted is at least 1");
  }
  return divides("n_heads", model.n_heads, "n_kv_heads", model.n_kv_heads);
}

Status check_stages(const MegatronModel& model, const ParallelShape& parallel) {
  const bool uneven = parallel.first_layers >= 0 || parallel.last_layers >= 0;
  if (!uneven) {
    MM2_RETURN_IF_ERROR(divides("n_layers", model.n_layers, "pp", parallel.pp));
    return divides("n_layers", model.n_layers, "pp * vpp", int64_t{parallel.pp} * parallel.vpp);
  }
  if (parallel.vpp > 1) {
    return error(Code::unsupported,
                 "first_layers and last_layers together with vpp = ", parallel.vpp);
  }
  const int32_t n_ends = (parallel.first_layers >= 0) + (parallel.last_layers >= 0);
  const int32_t rest =
      model.n_layers - std::max(0, parallel.first_layers) - std::max(0, parallel.last_layers);
  const int32_t n_middle = parallel.pp - n_ends;
  if (n_middle < 0 || rest < 0 || (n_middle == 0 && rest != 0) || parallel.first_layers == 0 ||
      parallel.last_layers == 0) {
    return error(Code::invalid_argument, model.n_layers, " layers on ", parallel.pp,
                 " stages with first_layers = ", parallel.first_layers,
                 " and last_layers = ", parallel.last_layers);
  }
  if (n_middle == 0) return {};
  if (rest == 0)
    return error(Code::invalid_argument, "no layers are left for ", n_middle, " stages");
  return divides("what first_layers and last_layers leave of n_layers", rest, "stages", n_middle);
}

Status check_fp8(const MegatronModel& model, const ParallelShape& parallel) {
  if (model.fp8_attention && model.head_dim % kBlock != 0) {
    return error(Code::invalid_argument, "head_dim ", model.head_dim, " is no multiple of ", kBlock,
                 ": FP8 blocks straddle heads, so codes cannot be moved; dequantise first");
  }
  if (model.fp8_experts && model.intermediate / parallel.etp % kBlock != 0) {
    return error(Code::invalid_argument, "intermediate ", model.intermediate, " / etp ",
                 parallel.etp, " is no multiple of ", kBlock,
                 ": FP8 blocks straddle ranks, so codes cannot be moved; dequantise first");
  }
  return {};
}

// ---- names

constexpr const char* kInputNorm = "self_attention.linear_qkv.layer_norm_weight";
constexpr const char* kQkv = "self_attention.linear_qkv.weight";
constexpr const char* kOut = "self_attention.linear_proj.weight";
constexpr const char* kPostNorm = "pre_mlp_layernorm.weight";
constexpr const char* kRouter = "mlp.router.weight";
constexpr const char* kRouterBias = "mlp.router.expert_bias";

std::string hf_layer(int32_t layer) {
  return join("model.layers.", layer, ".");
}
std::string hf_attention(int32_t layer, const char* part) {
  return join(hf_layer(layer), "self_attn.", part, ".weight");
}
std::string hf_expert(int32_t layer, int32_t expert, const char* part) {
  return join(hf_layer(layer), "block_sparse_moe.experts.", expert, ".", part, ".weight");
}

// ---- tensors

/// Collects the tensors of one rank.
class RankBuilder {
 public:
  RankBuilder(const MegatronModel& model, const ParallelShape& parallel, MegatronNames names,
              const MegatronRank& rank)
      : model_(model), parallel_(parallel), bridge_(names == MegatronNames::bridge), rank_(rank) {}

  std::vector<MegatronTensor> run() {
    for (chunk_ = 0; chunk_ < parallel_.vpp; ++chunk_) {
      if (rank_.pp == 0 && chunk_ == 0) {
        vocabulary("embedding.word_embeddings.weight", "model.embed_tokens.weight");
      }
      const LayerRange layers = stage_layers(model_, parallel_, rank_.pp, chunk_);
      for (int32_t i = 0; i < layers.n; ++i) layer(i, layers.first + i);
      if (rank_.pp == parallel_.pp - 1 && chunk_ == parallel_.vpp - 1) {
        whole_vector("decoder.final_layernorm.weight", "decoder.final_layernorm.weight",
                     "model.norm.weight", model_.hidden);
        if (!model_.tied) vocabulary("output_layer.weight", "lm_head.weight");
      }
    }
    return std::move(tensors_);
  }

 private:
  MegatronTensor& add(std::string name, std::string global, int64_t n_rows, int64_t n_cols) {
    MegatronTensor tensor;
    tensor.name = std::move(name);
    tensor.global_name = std::move(global);
    tensor.chunk = chunk_;
    tensor.n_rows = n_rows;
    tensor.n_cols = n_cols;
    tensors_.push_back(std::move(tensor));
    return tensors_.back();
  }

  void vector_part(std::string name, std::string global, std::string hf, int64_t from, int64_t n) {
    MegatronTensor& tensor = add(std::move(name), std::move(global), n, 1);
    tensor.is_vector = true;
    tensor.moves.push_back({std::move(hf), from, 0, 0, 0, n, 1, 1});
  }
  void whole_vector(std::string name, std::string global, std::string hf, int64_t n) {
    vector_part(std::move(name), std::move(global), std::move(hf), 0, n);
  }

  void vocabulary(const char* name, const char* hf) {
    const int64_t n = padded_vocab(model_.n_vocab, parallel_) / parallel_.tp;
    const int64_t first = n * rank_.tp;
    MegatronTensor& tensor = add(name, name, n, model_.hidden);
    const int64_t there = std::clamp<int64_t>(model_.n_vocab - first, 0, n);
    if (there > 0)
      tensor.moves.push_back({hf, first, 0, 0, 0, there, model_.hidden, model_.hidden});
  }

  void layer(int32_t local, int32_t layer) {
    const std::string here = join("decoder.layers.", local, ".");
    const std::string everywhere = join("decoder.layers.", layer, ".");
    const auto vector = [&](const char* name, const std::string& hf, int64_t n) {
      whole_vector(here + name, everywhere + name, hf, n);
    };
    vector(kInputNorm, hf_layer(layer) + "input_layernorm.weight", model_.hidden);
    qkv(here, everywhere, layer);
    norms(here, everywhere, layer);
    const int64_t out = model_.q_width() / parallel_.tp;
    MegatronTensor& proj = add(here + kOut, everywhere + kOut, model_.hidden, out);
    proj.moves.push_back({hf_attention(layer, "o_proj"), 0, out * rank_.tp, 0, 0, model_.hidden,
                          out, model_.q_width()});
    if (model_.fp8_attention) add_scales(proj);
    vector(kPostNorm, hf_layer(layer) + "post_attention_layernorm.weight", model_.hidden);

    const std::string moe = hf_layer(layer) + "block_sparse_moe.";
    add(here + kRouter, everywhere + kRouter, model_.n_experts, model_.hidden)
        .moves.push_back(
            {moe + "gate.weight", 0, 0, 0, 0, model_.n_experts, model_.hidden, model_.hidden});
    vector(kRouterBias, moe + "e_score_correction_bias", model_.n_experts);
    const int32_t n_local = model_.n_experts / parallel_.ep;
    for (int32_t e = 0; e < n_local; ++e) {
      expert(here, everywhere, layer, e, rank_.ep * n_local + e);
    }
  }

  // Groups of one key head: the rows of its query heads, of the key head, of the value head. With more
  // ranks than key heads a rank has some queries of one group and a copy of its key and value head.
  void qkv(const std::string& here, const std::string& everywhere, int32_t layer) {
    const bool copies = parallel_.tp > model_.n_kv_heads;
    const int64_t d = model_.head_dim;
    const int64_t n_groups = copies ? 1 : model_.n_kv_heads / parallel_.tp;
    const int64_t n_queries = model_.n_heads / parallel_.tp / n_groups;
    const int64_t first_kv =
        copies ? rank_.tp / (parallel_.tp / model_.n_kv_heads) : int64_t{rank_.tp} * n_groups;
    const int64_t first_query = int64_t{rank_.tp} * (model_.n_heads / parallel_.tp);
    const int64_t group_rows = (n_queries + 2) * d;
    MegatronTensor& tensor =
        add(here + kQkv, everywhere + kQkv, n_groups * group_rows, model_.hidden);
    for (int64_t g = 0; g < n_groups; ++g) {
      const int64_t row = g * group_rows;
      const auto move = [&](const char* part, int64_t head, int64_t to, int64_t n_heads) {
        tensor.moves.push_back({hf_attention(layer, part), head * d, 0, row + to * d, 0,
                                n_heads * d, model_.hidden, model_.hidden});
      };
      move("q_proj", first_query + g * n_queries, 0, n_queries);
      move("k_proj", first_kv + g, n_queries, 1);
      move("v_proj", first_kv + g, n_queries + 1, 1);
    }
    if (model_.fp8_attention) add_scales(tensor);
  }

  void norms(const std::string& here, const std::string& everywhere, int32_t layer) {
    const auto norm = [&](const char* slime, const char* bridge, const char* hf, int64_t width,
                          int64_t n_parts, int64_t part) {
      const std::string name = join("self_attention.", bridge_ ? bridge : slime, ".weight");
      const int64_t n = bridge_ ? width / n_parts : width;
      vector_part(here + name, everywhere + name, hf_attention(layer, hf), bridge_ ? n * part : 0,
                  n);
    };
    const int64_t kv_parts = std::min(parallel_.tp, model_.n_kv_heads);
    norm("q_norm", "q_layernorm", "q_norm", model_.q_width(), parallel_.tp, rank_.tp);
    norm("k_norm", "k_layernorm", "k_norm", model_.kv_width(), kv_parts,
         rank_.tp / (parallel_.tp / kv_parts));
  }

  // Gate and up are split one by one and stand together on every rank.
  void expert(const std::string& here, const std::string& everywhere, int32_t layer, int32_t local,
              int32_t expert) {
    const int64_t part = model_.intermediate / parallel_.etp, first = part * rank_.etp;
    const auto name = [](const std::string& prefix, const char* matrix, int32_t e) {
      return join(prefix, "mlp.experts.", matrix, ".weight", e);
    };
    MegatronTensor& fc1 = add(name(here, "linear_fc1", local),
                              name(everywhere, "linear_fc1", expert), 2 * part, model_.hidden);
    fc1.moves.push_back(
        {hf_expert(layer, expert, "w1"), first, 0, 0, 0, part, model_.hidden, model_.hidden});
    fc1.moves.push_back(
        {hf_expert(layer, expert, "w3"), first, 0, part, 0, part, model_.hidden, model_.hidden});
    if (model_.fp8_experts) add_scales(fc1);
    MegatronTensor& fc2 = add(name(here, "linear_fc2", local),
                              name(everywhere, "linear_fc2", expert), model_.hidden, part);
    fc2.moves.push_back(
        {hf_expert(layer, expert, "w2"), 0, first, 0, 0, model_.hidden, part, model_.intermediate});
    if (model_.fp8_experts) add_scales(fc2);
  }

  // The same moves in blocks of 128. check_layout has made sure that no move begins inside of one.
  void add_scales(const MegatronTensor& weight) {
    MegatronTensor scales = weight;
    constexpr const char* kSuffix = "_scale_inv";
    scales.name += kSuffix;
    scales.global_name += kSuffix;
    scales.n_rows = ceil_div(weight.n_rows, kBlock);
    scales.n_cols = ceil_div(weight.n_cols, kBlock);
    for (BlockMove& move : scales.moves) {
      move.hf += kSuffix;
      for (int64_t* start : {&move.hf_row, &move.hf_col, &move.row, &move.col}) *start /= kBlock;
      move.n_rows = ceil_div(move.n_rows, kBlock);
      move.n_cols = ceil_div(move.n_cols, kBlock);
      move.hf_cols = ceil_div(move.hf_cols, kBlock);
    }
    tensors_.push_back(std::move(scales));
  }

  const MegatronModel& model_;
  const ParallelShape& parallel_;
  const bool bridge_;
  const MegatronRank rank_;
  int32_t chunk_ = 0;
  std::vector<MegatronTensor> tensors_;
};

}  // namespace

Status check_layout(const MegatronModel& model, const ParallelShape& parallel) {
  MM2_RETURN_IF_ERROR(check_model(model));
  int64_t n_ranks = 1;
  for (const int32_t n : {parallel.tp, parallel.pp, parallel.ep, parallel.etp, parallel.vpp}) {
    if (n < 1 || n > kMostRanks || (n_ranks *= n) > kMostRanks) {
      return error(Code::invalid_argument, "tp ", parallel.tp, ", pp ", parallel.pp, ", ep ",
                   parallel.ep, ", etp ", parallel.etp, ", vpp ", parallel.vpp,
                   ": each must be at least 1, and together at most ", kMostRanks);
    }
  }
  if (parallel.pad_vocab < 1 || parallel.pad_vocab > 65536) {
    return error(Code::invalid_argument, "pad_vocab is ", parallel.pad_vocab,
                 ", wanted is 1 to 65536");
  }
  if (parallel.tp % parallel.etp != 0 && parallel.etp % parallel.tp != 0) {
    return error(Code::invalid_argument, "of tp ", parallel.tp, " and etp ", parallel.etp,
                 " one must divide the other");
  }
  if (parallel.tp <= model.n_kv_heads) {
    MM2_RETURN_IF_ERROR(divides("n_kv_heads", model.n_kv_heads, "tp", parallel.tp));
  } else if (parallel.tp % model.n_kv_heads != 0) {
    return error(Code::invalid_argument, "tp ", parallel.tp, " is no multiple of n_kv_heads ",
                 model.n_kv_heads, ", so key heads cannot be given to several ranks each");
  }
  MM2_RETURN_IF_ERROR(divides("n_heads", model.n_heads, "tp", parallel.tp));
  MM2_RETURN_IF_ERROR(divides("n_experts", model.n_experts, "ep", parallel.ep));
  MM2_RETURN_IF_ERROR(divides("intermediate", model.intermediate, "etp", parallel.etp));
  MM2_RETURN_IF_ERROR(check_stages(model, parallel));
  if (model.tied && parallel.pp > 1) {
    return error(Code::unsupported, "a tied lm_head with pp ", parallel.pp);
  }
  return check_fp8(model, parallel);
}

int64_t padded_vocab(int32_t n_vocab, const ParallelShape& parallel) {
  return round_up(int64_t{n_vocab}, int64_t{parallel.pad_vocab} * parallel.tp);
}

LayerRange stage_layers(const MegatronModel& model, const ParallelShape& parallel, int32_t pp_rank,
                        int32_t chunk) {
  const int32_t head = parallel.first_layers, tail = parallel.last_layers;
  if (head < 0 && tail < 0) {
    const int32_t n = model.n_layers / (parallel.pp * parallel.vpp);
    return {(chunk * parallel.pp + pp_rank) * n, n};
  }
  if (tail >= 0 && pp_rank == parallel.pp - 1) return {model.n_layers - tail, tail};
  if (head >= 0 && pp_rank == 0) return {0, head};
  const int32_t n_middle = parallel.pp - (head >= 0) - (tail >= 0);
  const int32_t n = (model.n_layers - std::max(0, head) - std::max(0, tail)) / n_middle;
  return {std::max(0, head) + (pp_rank - (head >= 0)) * n, n};
}

std::vector<MegatronRank> all_ranks(const ParallelShape& parallel) {
  std::vector<MegatronRank> ranks;
  const int32_t n_tensor = std::max(parallel.tp, parallel.etp);
  for (int32_t pp = 0; pp < parallel.pp; ++pp) {
    for (int32_t ep = 0; ep < parallel.ep; ++ep) {
      for (int32_t t = 0; t < n_tensor; ++t) {
        ranks.push_back({pp, t % parallel.tp, ep, t % parallel.etp});
      }
    }
  }
  return ranks;
}

std::string rank_folder(const MegatronRank& rank, const ParallelShape& parallel) {
  // A folder for each expert part where those are more than the ranks of the other tensors.
  std::string name = join("mp_rank_", padded(parallel.etp > parallel.tp ? rank.etp : rank.tp, 2));
  if (parallel.pp > 1) name = join(name, "_", padded(rank.pp, 3));
  if (parallel.ep > 1) name = join(name, "_", padded(rank.ep, 3));
  return name;
}

std::vector<MegatronTensor> rank_tensors(const MegatronModel& model, const ParallelShape& parallel,
                                         MegatronNames names, const MegatronRank& rank) {
  return RankBuilder(model, parallel, names, rank).run();
}

}  // namespace mm2
