#include "quant/kv_scales.h"

#include <catch2/catch.hpp>

#include "kernels/api/numbers.h"
#include "support/golden.h"
#include "unit/quant/memory.h"

using namespace mm2;
using support::contains;
using support::Memory;

namespace {

constexpr int32_t kLayers = 2, kHeads = 3;

KvScales read(const Memory& source) {
  const auto places = locate_kv_scales(source, kLayers);
  INFO(places.status().message());
  REQUIRE(places.ok());
  const auto scales = read_kv_scales(*places, source, kHeads);
  INFO(scales.status().message());
  REQUIRE(scales.ok());
  return *scales;
}

std::string name(int layer, const char* last) {
  return join("model.layers.", layer, ".self_attn.", last);
}

}  // namespace

TEST_CASE(
    "kv scales: every spelling gives the same, as a scalar, a single one and one for each head") {
  const std::pair<const char*, const char*> spellings[] = {
      {"k_proj.k_scale", "v_proj.v_scale"},
      {"k_scale", "v_scale"},
      {"attn.k_scale", "attn.v_scale"},
      {"qkv_proj.k_scale", "qkv_proj.v_scale"}};
  for (const auto& [k, v] : spellings) {
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{3}, Shape{3, 1, 1}}) {
      INFO(k << " " << shape.to_string());
      Memory source;
      for (int layer = 0; layer < kLayers; ++layer) {
        std::vector<float> values;
        for (int64_t h = 0; h < shape.n_elements(); ++h) {
          values.push_back(static_cast<float>(1 + layer * 10 + h));
        }
        source.add(name(layer, k), Dtype::f32, shape, values);
        for (float& value : values) value += 0.5f;
        source.add(name(layer, v), Dtype::f32, shape, values);
      }
      const KvScales scales = read(source);
      REQUIRE(scales.k.size() == kLayers * kHeads);
      for (int i = 0; i < kLayers * kHeads; ++i) {
        const int head = shape.n_elements() == 1 ? 0 : i % kHeads;
        const auto want = static_cast<float>(1 + i / kHeads * 10 + head);
        CHECK(scales.k[static_cast<size_t>(i)] == want);
        CHECK(scales.v[static_cast<size_t>(i)] == want + 0.5f);
      }
    }
  }
}

TEST_CASE("kv scales: one for both, by name or because the other is missing") {
  for (const char* last : {"kv_scale", "attn.kv_scale", "k_scale", "v_scale"}) {
    Memory source;
    for (int layer = 0; layer < kLayers; ++layer) {
      source.add(name(layer, last), Dtype::f32, Shape{}, std::vector<float>{0.25f});
    }
    const KvScales scales = read(source);
    CHECK(scales.k == std::vector<float>(kLayers * kHeads, 0.25f));
    CHECK(scales.v == scales.k);
    const std::string remark = locate_kv_scales(source, kLayers)->remark;
    const bool by_name = std::string(last).find("kv_") != std::string::npos;
    CHECK(remark.empty() == by_name);
    if (!by_name) CHECK(contains(remark, "serve for both"));
  }
}

TEST_CASE("kv scales: a checkpoint without them has none, and types are widened") {
  CHECK(read(Memory()).empty());
  Memory source;
  for (int layer = 0; layer < kLayers; ++layer) {
    source.add(name(layer, "k_scale"), Dtype::bf16, Shape{1}, std::vector<uint16_t>{0x3F00});
    source.add(name(layer, "v_scale"), Dtype::f16, Shape{1}, std::vector<uint16_t>{0x3400});
  }
  const KvScales scales = read(source);
  CHECK((scales.k[0] == 0.5f && scales.v[0] == 0.25f));
  Memory integers;
  integers.add(name(0, "k_scale"), Dtype::i32, Shape{});
  integers.add(name(1, "k_scale"), Dtype::i32, Shape{});
  const auto places = locate_kv_scales(integers, kLayers);
  CHECK(contains(read_kv_scales(*places, integers, kHeads).status().message(), "it is I32 []"));
}

TEST_CASE("kv scales: those of the golden models are largest sizes / 448") {
  for (const char* folder : {"nvfp4_modelopt", "ct_mixed"}) {
    const auto checkpoint = Checkpoint::open(golden::kModels + folder, Host{});
    REQUIRE(checkpoint.ok());
    const auto places = locate_kv_scales(**checkpoint, 2);
    REQUIRE(places.ok());
    const auto scales = read_kv_scales(*places, **checkpoint, 2);
    REQUIRE(scales.ok());
    // What is stored as a code came from a number that was divided by the scale.
    const golden::Tensors trace(golden::kModels + folder + "/expected/trace_kv8.safetensors");
    for (int layer = 0; layer < 2; ++layer) {
      const auto numbers = trace.read("layer" + std::to_string(layer) + ".k");
      const auto codes = trace.read<uint8_t>("layer" + std::to_string(layer) + ".k_codes");
      REQUIRE(numbers.size() == codes.size());
      for (size_t i = 0; i < codes.size(); ++i) {
        const float scaled = numbers[i] / scales->k[static_cast<size_t>(layer) * 2];
        REQUIRE(kernels::f32_to_e4m3(scaled) == codes[i]);
      }
    }
  }
}
