#include "model/model.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "support/golden.h"
#include "tensor/convert.h"

using mm2::Code;
using mm2::Host;
using mm2::Model;

namespace {

const std::string kBroken = std::string(MM2_TEST_DATA) + "/broken/";

const float* packed_f32(const mm2::kernels::Matrix& m) {
  return static_cast<const float*>(m.data);
}

}  // namespace

TEST_CASE("model: shape, counts and defaults come from the checkpoint") {
  auto model = Model::load(golden::kModels + "bf16", {}, Host{});
  INFO(model.status().message());
  REQUIRE(model.ok());
  const Model& m = **model;
  CHECK(m.shape().hidden == 256);
  CHECK(m.shape().rotary_dim == 16);
  CHECK(m.default_activations() == mm2::kernels::kBF16);
  // embed + head 2*260*256; per layer q,o 2*384*256, k,v 2*64*256, norms 256*2+384+64,
  // router 8*257, experts 8*3*128*256
  const uint64_t layer =
      2 * 384 * 256 + 2 * 64 * 256 + 2 * 256 + 384 + 64 + 8 * 257 + 8 * 3 * 128 * 256;
  CHECK(m.n_parameters() == 2 * 260 * 256 + 2 * layer + 256);
  CHECK(m.describe()["schemes"]["w1"]["BF16"] == 16);
  CHECK(m.describe()["schemes"]["router"]["F32"] == 2);
}

TEST_CASE("model: all alias layouts load to the same weights") {
  std::vector<std::vector<float>> firsts;
  for (const char* folder : {"alias_fused", "alias_gate_up"}) {
    auto model = Model::load(golden::kModels + folder, {.isa = mm2::Isa::reference}, Host{});
    INFO(model.status().message());
    REQUIRE(model.ok());
    const auto& down = (*model)->weights().layers[2].experts[15].down;
    REQUIRE(down.format.number == mm2::kernels::kBF16);
    std::vector<float> values;
    for (int64_t i = 0; i < down.n_out * down.n_in; ++i) {
      uint16_t bits;
      std::memcpy(&bits, static_cast<const char*>(down.data) + 2 * i, 2);
      values.push_back(bits);
    }
    firsts.push_back(values);
  }
  CHECK(firsts[0] == firsts[1]);
}

TEST_CASE("model: norms, router and bias are widened to F32 exactly") {
  auto model = Model::load(golden::kModels + "f16", {.isa = mm2::Isa::reference}, Host{});
  REQUIRE(model.ok());
  const auto& layer = (*model)->weights().layers[1];
  CHECK(layer.router.format.number == mm2::kernels::kF32);
  const golden::Tensors file(golden::kModels + "f16/model.safetensors");
  const auto stored = file.read<uint16_t>("model.layers.1.block_sparse_moe.gate.weight");
  for (size_t i = 0; i < stored.size(); ++i) {
    REQUIRE(packed_f32(layer.router)[i] == mm2::f16_to_f32(stored[i]));
  }
}

TEST_CASE("model: progress reaches the total, and refusing it cancels the load") {
  uint64_t done = 0;
  uint64_t total = 0;
  Host host;
  host.progress = [&](const mm2::Progress& p) {
    if (p.stage == mm2::kStageLoad) {
      done = p.done;
      total = p.total;
    }
    return true;
  };
  REQUIRE(Model::load(golden::kModels + "f32", {}, host).ok());
  CHECK(done == total);
  CHECK(total > 1000000);

  host.progress = [&](const mm2::Progress& p) { return p.stage != mm2::kStageLoad || p.done == 0; };
  auto model = Model::load(golden::kModels + "f32", {}, host);
  REQUIRE_FALSE(model.ok());
  CHECK(model.status().code() == Code::cancelled);
}

TEST_CASE("model: metadata_only reads no weights but knows what they take") {
  auto light = Model::load(golden::kModels + "bf16", {.metadata_only = true}, Host{});
  auto full = Model::load(golden::kModels + "bf16", {}, Host{});
  REQUIRE(light.ok());
  REQUIRE(full.ok());
  CHECK_FALSE((*light)->has_weights());
  CHECK((*light)->weight_bytes().owned == (*full)->weight_bytes().owned);
}

TEST_CASE("model: mapped and copied weights are the same") {
  for (const auto map : {mm2::MapWeights::no, mm2::MapWeights::automatic, mm2::MapWeights::yes}) {
    auto model = Model::load(golden::kModels + "f32",
                             {.isa = mm2::Isa::reference, .map_weights = map}, Host{});
    INFO(model.status().message());
    REQUIRE(model.ok());
    CHECK(((*model)->weight_bytes().mapped == 0) == (map == mm2::MapWeights::no));
    const golden::Tensors file(golden::kModels + "f32/model.safetensors");
    const auto stored = file.read("model.embed_tokens.weight");
    CHECK(std::memcmp((*model)->weights().embedding.data, stored.data(), stored.size() * 4) == 0);
  }
}

TEST_CASE("model: each damaged model is refused with the names that matter") {
  const auto cases = golden::read_json(kBroken + "cases.json");
  for (const auto& c : cases["cases"]) {
    if (c["kind"] != "model") continue;
    auto model = Model::load(kBroken + c["path"].get<std::string>(), {}, Host{});
    INFO(c["path"] << ": " << model.status().message());
    REQUIRE(model.ok() == (c["expect"] == "ok"));
    for (const auto& name : c["message_should_name"]) {
      CHECK(model.status().message().find(name.get<std::string>()) != std::string::npos);
    }
  }
}

TEST_CASE("model: a folder that is no checkpoint, a missing folder, an unknown instruction set") {
  CHECK(Model::load(std::string(MM2_TEST_DATA), {}, Host{}).status().code() == Code::not_found);
  CHECK(Model::load("/nonexistent", {}, Host{}).status().code() == Code::not_found);
  CHECK(Model::load(golden::kModels + "f32", {.isa = static_cast<mm2::Isa>(77)}, Host{})
            .status()
            .code() == Code::invalid_argument);
}
