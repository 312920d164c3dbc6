#include "tools/megatron/names.h"

#include <catch2/catch.hpp>
#include <map>

using namespace mm2;

TEST_CASE("names: every tensor of a layout has the names that its moves say, both ways") {
  MegatronModel model{3, 256, 4, 2, 128, 12, 256, 300};
  model.fp8_attention = model.fp8_experts = true;
  for (const MegatronNames names : {MegatronNames::slime, MegatronNames::bridge}) {
    const auto tensors = rank_tensors(model, {}, names, {});
    for (const MegatronTensor& tensor : tensors) {
      INFO(tensor.name);
      std::vector<std::string> sources;
      for (const BlockMove& move : tensor.moves) {
        if (std::find(sources.begin(), sources.end(), move.hf) == sources.end()) {
          sources.push_back(move.hf);
        }
        CHECK(megatron_name_of(move.hf, names) == tensor.name);
      }
      CHECK(hf_names_of(tensor.name) == sources);
      CHECK(canonical_megatron_name(tensor.name, names) == tensor.name);
    }
    for (const HfTensor& tensor : hf_tensors(model)) {
      INFO(tensor.name);
      CHECK_FALSE(megatron_name_of(tensor.name, names).empty());
    }
  }
}

TEST_CASE("names: the spellings of slime, Megatron-Bridge and single experts mean the same") {
  const auto slime = [](const char* name) {
    return canonical_megatron_name(name, MegatronNames::slime);
  };
  CHECK(slime("module.module.decoder.layers.7.self_attention.q_layernorm.weight") ==
        "decoder.layers.7.self_attention.q_norm.weight");
  CHECK(canonical_megatron_name("decoder.layers.7.self_attention.k_norm.weight",
                                MegatronNames::bridge) ==
        "decoder.layers.7.self_attention.k_layernorm.weight");
  CHECK(slime("module.decoder.layers.0.mlp.experts.local_experts.11.linear_fc2.weight") ==
        "decoder.layers.0.mlp.experts.linear_fc2.weight11");
  CHECK(slime("output_layer.weight") == "output_layer.weight");
  using Names = std::vector<std::string>;
  CHECK(hf_names_of("decoder.layers.5.mlp.experts.local_experts.3.linear_fc1.weight") ==
        Names{"model.layers.5.block_sparse_moe.experts.3.w1.weight",
              "model.layers.5.block_sparse_moe.experts.3.w3.weight"});
  CHECK(hf_names_of("module.module.decoder.layers.5.self_attention.linear_qkv.weight") ==
        Names{"model.layers.5.self_attn.q_proj.weight", "model.layers.5.self_attn.k_proj.weight",
              "model.layers.5.self_attn.v_proj.weight"});
}

TEST_CASE("names: what is no tensor of the model has no name on the other side") {
  for (const char* name :
       {"", "module.", "decoder.layers.", "decoder.layers.x.mlp.router.weight",
        "decoder.layers.01.mlp.router.weight", "decoder.layers.1.mlp.experts.linear_fc1.weight",
        "decoder.layers.1.mlp.experts.linear_fc1.weight3x",
        "decoder.layers.1.mlp.experts.linear_fc3.weight3",
        "decoder.layers.1.self_attention.linear_qkv.bias",
        "decoder.layers.99999999999.mlp.router.weight"}) {
    INFO(name);
    CHECK(hf_names_of(name).empty());
  }
  for (const char* name : {"", "model.layers.0.", "model.layers.0.self_attn.k_proj.k_scale",
                           "model.layers.0.block_sparse_moe.experts.1.w4.weight",
                           "model.layers.0.block_sparse_moe.experts.w1.weight"}) {
    INFO(name);
    CHECK(megatron_name_of(name, MegatronNames::slime).empty());
  }
  CHECK(is_megatron_extra("decoder.layers.0.self_attention.linear_qkv._extra_state"));
  CHECK(is_megatron_extra("decoder.layers.0.mlp.router.local_tokens_per_expert"));
  CHECK_FALSE(is_megatron_extra("decoder.layers.0.mlp.router.expert_bias"));
}
