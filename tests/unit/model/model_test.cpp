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

TEST_CASE("model: a description tells each class of weights, and whether there are KV scales") {
  const auto described = [](const char* folder) {
    auto model = Model::load(golden::kModels + folder, {.metadata_only = true}, Host{});
    INFO(model.status().message());
    REQUIRE(model.ok());
    return (*model)->describe();
  };
  const mm2::Json mixed = described("ct_mixed");
  CHECK(mixed["schemes"]["q_proj"]["fp8 block 128x128"] == 2);
  CHECK(mixed["schemes"]["w2"]["compressed-tensors packed integers 4 bit group 32"] == 16);
  CHECK(mixed["schemes"]["lm_head"]["BF16"] == 1);
  CHECK(mixed["kv_scales"] == true);
  const mm2::Json awq = described("awq");
  CHECK(awq["schemes"]["w1"]["BF16"] == 8);
  CHECK(awq["schemes"]["w1"]["awq 4 bit group 128"] == 8);
  CHECK(awq["kv_scales"] == false);
}

TEST_CASE("model: KV scales are there by layer and head") {
  auto model = Model::load(golden::kModels + "nvfp4_modelopt", {.metadata_only = true}, Host{});
  REQUIRE(model.ok());
  const golden::Tensors file(golden::kModels + "nvfp4_modelopt/model.safetensors");
  for (size_t layer = 0; layer < 2; ++layer) {
    const std::string name = "model.layers." + std::to_string(layer) + ".self_attn.";
    for (size_t head = 0; head < 2; ++head) {
      CHECK((*model)->kv_scales().k[layer * 2 + head] == file.read(name + "k_proj.k_scale")[0]);
      CHECK((*model)->kv_scales().v[layer * 2 + head] == file.read(name + "v_proj.v_scale")[0]);
    }
  }
}

TEST_CASE("model: loading takes the memory that was estimated, to the byte") {
  // Counts what is taken and how much of it at once.
  class Counting final : public mm2::Allocator {
   public:
    void* allocate(size_t size, size_t alignment) noexcept override {
      taken += size;
      most = std::max(most, taken);
      return inner_->allocate(size, alignment);
    }
    void release(void* pointer, size_t size, size_t alignment) noexcept override {
      taken -= size;
      inner_->release(pointer, size, alignment);
    }
    size_t taken = 0, most = 0;

   private:
    std::shared_ptr<mm2::Allocator> inner_ = mm2::default_allocator();
  };
  std::vector<std::string> folders = golden::kQuantised;
  folders.push_back("f16");
  for (const std::string& folder : folders) {
    const auto memory = std::make_shared<Counting>();
    Host host;
    host.allocator = memory;
    auto model = Model::load(golden::kModels + folder, {.n_threads = 2}, host);
    REQUIRE(model.ok());
    INFO(folder);
    CHECK(memory->taken == (*model)->weight_bytes().owned);
    CHECK(memory->most == (*model)->weight_bytes().owned + (*model)->weight_bytes().staging);
  }
}

TEST_CASE("model: progress of a quantised checkpoint reaches the total on every backend") {
  for (const std::string& folder : golden::kQuantised) {
    for (const mm2::Isa isa : {mm2::Isa::automatic, mm2::Isa::reference}) {
      uint64_t done = 0, total = 0;
      Host host;
      host.progress = [&](const mm2::Progress& p) {
        if (p.stage == mm2::kStageLoad) {
          done = p.done;
          total = p.total;
        }
        return true;
      };
      INFO(folder);
      REQUIRE(Model::load(golden::kModels + folder, {.isa = isa}, host).ok());
      CHECK(done == total);
      CHECK(total > 400000);
    }
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
