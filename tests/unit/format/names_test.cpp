#include "format/names.h"

#include <catch2/catch.hpp>

#include "format/checkpoint.h"

using namespace mm2;

namespace {

const std::string kModels = std::string(MM2_TEST_DATA) + "/models/";

// A source that only knows names.
class NamesOnly final : public TensorSource {
 public:
  explicit NamesOnly(const std::vector<std::string>& names) {
    for (const std::string& name : names)
      tensors_.push_back({name, Dtype::bf16, Shape{1}, 0, 0, 2});
  }
  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override {
    for (const TensorInfo& tensor : tensors_) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  Status read(const TensorInfo&, uint64_t, size_t, void*) const override { return {}; }
  const std::byte* map(const TensorInfo&) const override { return nullptr; }
  std::string_view file_of(const TensorInfo&) const override { return "memory"; }

 private:
  std::vector<TensorInfo> tensors_;
};

ModelConfig small() {
  ModelConfig config;
  config.n_layers = 2;
  config.hidden = 6;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 2;
  config.n_experts = 3;
  config.intermediate = 5;
  config.n_vocab = 10;
  config.n_mtp_modules = 2;
  return config;
}

}  // namespace

TEST_CASE("names: the official spelling of every role") {
  const NamesOnly nothing({});
  const auto name = [&](Role role, int layer, int expert) {
    const WeightPlace place = locate(small(), nothing, role, layer, expert);
    CHECK_FALSE(place.found);
    return place.name + " " + place.shape.to_string();
  };
  CHECK(name(Role::embedding, -1, -1) == "model.embed_tokens.weight [10, 6]");
  CHECK(name(Role::final_norm, -1, -1) == "model.norm.weight [6]");
  CHECK(name(Role::lm_head, -1, -1) == "lm_head.weight [10, 6]");
  CHECK(name(Role::input_norm, 1, -1) == "model.layers.1.input_layernorm.weight [6]");
  CHECK(name(Role::post_attention_norm, 1, -1) ==
        "model.layers.1.post_attention_layernorm.weight [6]");
  CHECK(name(Role::q_norm, 0, -1) == "model.layers.0.self_attn.q_norm.weight [8]");
  CHECK(name(Role::k_norm, 0, -1) == "model.layers.0.self_attn.k_norm.weight [4]");
  CHECK(name(Role::q_proj, 0, -1) == "model.layers.0.self_attn.q_proj.weight [8, 6]");
  CHECK(name(Role::k_proj, 0, -1) == "model.layers.0.self_attn.k_proj.weight [4, 6]");
  CHECK(name(Role::v_proj, 0, -1) == "model.layers.0.self_attn.v_proj.weight [4, 6]");
  CHECK(name(Role::o_proj, 0, -1) == "model.layers.0.self_attn.o_proj.weight [6, 8]");
  CHECK(name(Role::router, 0, -1) == "model.layers.0.block_sparse_moe.gate.weight [3, 6]");
  CHECK(name(Role::router_bias, 0, -1) ==
        "model.layers.0.block_sparse_moe.e_score_correction_bias [3]");
  CHECK(name(Role::w1, 1, 2) == "model.layers.1.block_sparse_moe.experts.2.w1.weight [5, 6]");
  CHECK(name(Role::w2, 1, 2) == "model.layers.1.block_sparse_moe.experts.2.w2.weight [6, 5]");
  CHECK(name(Role::w3, 1, 2) == "model.layers.1.block_sparse_moe.experts.2.w3.weight [5, 6]");
}

TEST_CASE("names: experts under every prefix and spelling, codes of quantised ones too") {
  const std::string layer = "model.layers.0.";
  for (const std::string& prefix : {layer + "block_sparse_moe.", layer + "mlp."}) {
    for (const auto& [role, spelling] :
         std::vector<std::pair<Role, std::string>>{{Role::w1, "w1"},
                                                   {Role::w1, "gate_proj"},
                                                   {Role::w3, "w3"},
                                                   {Role::w3, "up_proj"},
                                                   {Role::w2, "w2"},
                                                   {Role::w2, "down_proj"}}) {
      for (const std::string_view suffix : code_suffixes()) {
        const std::string stem = prefix + "experts.1." + spelling;
        const NamesOnly source({stem + std::string(suffix)});
        const WeightPlace place = locate(small(), source, role, 0, 1);
        CHECK(place.found);
        CHECK(place.stem == stem);
        CHECK_FALSE(locate(small(), source, role, 0, 2).found);
        CHECK_FALSE(locate(small(), source, role, 1, 1).found);
        CHECK_FALSE(locate(small(), source, role == Role::w1 ? Role::w3 : Role::w1, 0, 1).found);
      }
    }
  }
}

TEST_CASE("names: an expert's rows inside fused matrices, w1 before w3") {
  const NamesOnly source(
      {"model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.down_proj"});
  const WeightPlace w1 = locate(small(), source, Role::w1, 0, 2);
  const WeightPlace w3 = locate(small(), source, Role::w3, 0, 2);
  const WeightPlace w2 = locate(small(), source, Role::w2, 0, 2);
  REQUIRE((w1.found && w2.found && w3.found));
  CHECK((w1.bare && w2.bare && w3.bare));
  CHECK(w1.stored == Shape{3, 10, 6});
  CHECK(w2.stored == Shape{3, 6, 5});
  CHECK(w1.first_row == 20);
  CHECK(w3.first_row == 25);
  CHECK(w2.first_row == 12);
  CHECK(w1.shape == Shape{5, 6});
}

TEST_CASE("names: q, k and v inside one matrix, in this order") {
  const NamesOnly source({"model.layers.1.self_attn.qkv_proj.weight"});
  CHECK(locate(small(), source, Role::q_proj, 1, -1).first_row == 0);
  CHECK(locate(small(), source, Role::k_proj, 1, -1).first_row == 8);
  const WeightPlace v = locate(small(), source, Role::v_proj, 1, -1);
  CHECK(v.first_row == 12);
  CHECK(v.stored == Shape{16, 6});
  CHECK(v.stem == "model.layers.1.self_attn.qkv_proj");
  CHECK_FALSE(locate(small(), source, Role::o_proj, 1, -1).found);
}

TEST_CASE("names: a tied head lies where the embedding does, unless it has a tensor of its own") {
  ModelConfig config = small();
  const NamesOnly one({"model.embed_tokens.weight"});
  CHECK_FALSE(locate(config, one, Role::lm_head, -1, -1).found);
  config.tie_word_embeddings = true;
  CHECK(locate(config, one, Role::lm_head, -1, -1).stem == "model.embed_tokens");
  const NamesOnly both({"model.embed_tokens.weight", "lm_head.weight"});
  CHECK(locate(config, both, Role::lm_head, -1, -1).stem == "lm_head");
}

TEST_CASE("names: what is passed over on purpose, and what is not") {
  const ModelConfig config = small();
  for (const char* name :
       {"model.layers.0.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq",
        "model.layers.2.input_layernorm.weight", "model.layers.3.anything", "mtp.0.weight",
        "model.mtp_layers.0.x", "model.layers.0.self_attn.q_scale",
        "model.layers.1.self_attn.v_proj.v_bias", "model.layers.1.self_attn.k_proj.k_bias"}) {
    INFO(name);
    CHECK(is_ignored_name(config, name));
  }
  for (const char* name : {"model.layers.4.input_layernorm.weight", "model.layers.1.x",
                           "model.layers.0.self_attn.k_proj.k_scale",
                           "model.layers.0.block_sparse_moe.experts.9.w1.weight", "lm_head.bias",
                           "amtp.weight", "model.layers.", ""}) {
    INFO(name);
    CHECK_FALSE(is_ignored_name(config, name));
  }
}

TEST_CASE("names: all weights of every plain checkpoint of the test data are found") {
  for (const char* name :
       {"bf16", "bf16_single", "f16", "f32", "pruned", "alias_fused", "alias_gate_up"}) {
    INFO(name);
    const auto config = load_config(kModels + name, Host{});
    const auto checkpoint = Checkpoint::open(kModels + name, Host{});
    REQUIRE((config.ok() && checkpoint.ok()));
    const std::vector<WeightPlace> places = locate_all(*config, **checkpoint);
    CHECK(places.size() == 3u + static_cast<size_t>(config->n_layers) *
                                    (10u + 3u * static_cast<size_t>(config->n_experts)));
    for (const WeightPlace& place : places) CHECK(place.found);
  }
}

TEST_CASE("names: the list ends early when nothing is found") {
  ModelConfig config = small();
  config.n_layers = 1000;
  config.n_experts = 1000;
  CHECK(locate_all(config, NamesOnly({})).size() == kMaxLost);
}
