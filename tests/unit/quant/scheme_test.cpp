#include "quant/scheme.h"

#include <catch2/catch.hpp>
#include <limits>

#include "quant/check.h"
#include "quant/scales.h"
#include "unit/quant/memory.h"

using namespace mm2;
using support::contains;
using support::Memory;
using support::method;
using support::place_of;

TEST_CASE("scheme: plain weights are F32, F16 or BF16 of the right shape") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    Memory source;
    source.add("q.weight", dtype, Shape{6, 8});
    const auto description = describe_weight(place_of(6, 8), source, {});
    REQUIRE(description.ok());
    CHECK(description->is_plain());
    const auto slice = plain_slice(place_of(6, 8), *description, source);
    REQUIRE(slice.ok());
    CHECK(slice->bytes == source.tensors()[0].bytes);
    CHECK(slice->from == 0);
    const auto wrong = describe_weight(place_of(8, 6), source, {});
    CHECK(contains(wrong.status().message(), "shape is [6, 8], must be [8, 6]"));
  }
  Memory integers;
  integers.add("q.weight", Dtype::i32, Shape{6, 8});
  const Status refused = describe_weight(place_of(6, 8), integers, {}).status();
  CHECK(contains(refused.message(), "q.weight: dtype is I32, must be F32 or F16 or BF16"));
}

TEST_CASE("scheme: a slice of a fused tensor starts at its rows") {
  Memory source;
  source.add("q", Dtype::bf16, Shape{3, 10, 8});
  WeightPlace place = place_of(5, 8);
  place.bare = true;
  place.stored = Shape{3, 10, 8};
  place.first_row = 25;
  const auto description = describe_weight(place, source, {});
  REQUIRE(description.ok());
  const auto slice = plain_slice(place, *description, source);
  REQUIRE(slice.ok());
  CHECK(slice->from == 25 * 8 * 2);
  CHECK(slice->bytes == 5 * 8 * 2);
}

TEST_CASE("scheme: each quantised layout is recognised, sized and named, and is executable") {
  struct Layout {
    const char* id;
    const char* named;
    QuantConfig config;
    std::vector<std::tuple<const char*, Dtype, Shape>> tensors;
  };
  // A matrix of 256 rows (outputs) and 128 columns (inputs); groups of 32 unless the format says
  // otherwise.
  const std::vector<Layout> layouts = {
      {"fp8_block",
       "fp8 block 128x128",
       method("fp8"),
       {{".weight", Dtype::f8_e4m3, {256, 128}}, {".weight_scale_inv", Dtype::f32, {2, 1}}}},
      {"fp8_block_ct",
       "fp8 block 128x128",
       method("compressed-tensors"),
       {{".weight", Dtype::f8_e4m3, {256, 128}}, {".weight_scale", Dtype::bf16, {2, 1}}}},
      {"fp8_row",
       "scale per row",
       method("compressed-tensors"),
       {{".weight", Dtype::f8_e4m3, {256, 128}}, {".weight_scale", Dtype::f32, {256, 1}}}},
      {"fp8_matrix",
       "one scale",
       method("modelopt"),
       {{".weight", Dtype::f8_e4m3, {256, 128}}, {".weight_scale", Dtype::f32, {}}}},
      {"fp8_group",
       "fp8 group 64",
       method("compressed-tensors"),
       {{".weight", Dtype::f8_e4m3, {256, 128}}, {".weight_scale", Dtype::f32, {256, 2}}}},
      {"int8_group",
       "compressed-tensors integers 8 bit group 128",
       method("compressed-tensors"),
       {{".weight", Dtype::i8, {256, 128}},
        {".weight_scale", Dtype::bf16, {256, 1}},
        {".weight_zero_point", Dtype::i8, {256, 1}}}},
      {"int8_matrix",
       "integers with one scale 8 bit",
       method("compressed-tensors"),
       {{".weight", Dtype::i8, {256, 128}}, {".weight_scale", Dtype::f32, {1}}}},
      {"mxfp8",
       "mxfp8 group 32",
       method("compressed-tensors"),
       {{".weight", Dtype::f8_e4m3, {256, 128}}, {".weight_scale", Dtype::u8, {256, 4}}}},
      {"gptq",
       "gptq 4 bit group 32",
       method("gptq", 32, "gptq"),
       {{".qweight", Dtype::i32, {16, 256}},
        {".qzeros", Dtype::i32, {4, 32}},
        {".scales", Dtype::f16, {4, 256}},
        {".g_idx", Dtype::i32, {128}}}},
      {"gptq_v2",
       "gptq v2 4 bit group 32",
       method("gptq", 32, "gptq_v2"),
       {{".qweight", Dtype::i32, {16, 256}},
        {".qzeros", Dtype::i32, {4, 32}},
        {".scales", Dtype::f16, {4, 256}}}},
      {"gptq",
       "gptq 4 bit group 128",
       method("auto-round", -1, "gptq"),
       {{".qweight", Dtype::i32, {16, 256}},
        {".qzeros", Dtype::i32, {1, 32}},
        {".scales", Dtype::f16, {1, 256}}}},
      {"awq",
       "awq 4 bit group 32",
       method("awq", 32, "awq"),
       {{".qweight", Dtype::i32, {128, 32}},
        {".qzeros", Dtype::i32, {4, 32}},
        {".scales", Dtype::f16, {4, 256}}}},
      {"ct_packed",
       "4 bit group 32",
       method("compressed-tensors"),
       {{".weight_packed", Dtype::i32, {256, 16}},
        {".weight_scale", Dtype::bf16, {256, 4}},
        {".weight_zero_point", Dtype::i32, {32, 4}},
        {".weight_shape", Dtype::i64, {2}}}},
      {"ct_packed",
       "8 bit group 128",
       method("compressed-tensors"),
       {{".weight_packed", Dtype::i32, {256, 32}}, {".weight_scale", Dtype::bf16, {256, 1}}}},
      {"ct_nvfp4",
       "nvfp4 (compressed-tensors) group 16",
       method("compressed-tensors"),
       {{".weight_packed", Dtype::u8, {256, 64}},
        {".weight_scale", Dtype::f8_e4m3, {256, 8}},
        {".weight_global_scale", Dtype::f32, {1}}}},
      {"ct_mxfp4",
       "mxfp4 group 32",
       method("compressed-tensors"),
       {{".weight_packed", Dtype::u8, {256, 64}}, {".weight_scale", Dtype::u8, {256, 4}}}},
      {"nvfp4",
       "nvfp4 (ModelOpt) group 16",
       method("modelopt"),
       {{".weight", Dtype::u8, {256, 64}},
        {".weight_scale", Dtype::f8_e4m3, {256, 8}},
        {".weight_scale_2", Dtype::f32, {}},
        {".input_scale", Dtype::f32, {}}}},
  };
  for (const Layout& layout : layouts) {
    INFO(layout.id);
    Memory source;
    for (const auto& [suffix, dtype, shape] : layout.tensors)
      source.add(std::string("q") + suffix, dtype, shape);
    const auto description = describe_weight(place_of(256, 128), source, layout.config);
    INFO(description.status().message());
    REQUIRE(description.ok());
    CHECK(description->scheme->id == layout.id);
    CHECK(contains(description->to_string(), layout.named));
    const std::vector<WeightPlace> places = {place_of(256, 128)};
    const auto described =
        check_weights(places, source, layout.config, {.executable = true, .scales = false});
    INFO(described.status().message());
    REQUIRE(described.ok());
    CHECK(described->unused.empty());
    CHECK(plain_slice(places[0], *description, source).status().code() == Code::unsupported);

    // Any part of another shape is refused, by its name.
    for (const auto& [suffix, dtype, shape] : layout.tensors) {
      if (shape.rank() == 0) continue;
      Memory damaged;
      for (const auto& [other, other_dtype, other_shape] : layout.tensors) {
        std::vector<int64_t> extents(other_shape.extents().begin(), other_shape.extents().end());
        if (std::string(other) == suffix) extents.back() += 5;
        damaged.add(std::string("q") + other, other_dtype, *Shape::make(extents));
      }
      INFO(suffix);
      CHECK(contains(describe_weight(place_of(256, 128), damaged, layout.config).status().message(),
                     "shape"));
    }
  }
}

TEST_CASE("scheme: a partial block at the edge has a scale of its own") {
  Memory source;
  source.add("q.weight", Dtype::f8_e4m3, Shape{130, 100});
  source.add("q.weight_scale_inv", Dtype::f32, Shape{2, 1});
  CHECK(describe_weight(place_of(130, 100), source, method("fp8")).ok());
}

TEST_CASE("scheme: codes without their scales name what is missing") {
  Memory source;
  source.add("q.weight", Dtype::f8_e4m3, Shape{8, 8});
  const Status status = describe_weight(place_of(8, 8), source, method("fp8")).status();
  CHECK(contains(status.message(), "q.weight_scale_inv is missing"));
  Memory words;
  words.add("q.qweight", Dtype::i32, Shape{1, 8});
  CHECK(
      contains(describe_weight(place_of(8, 8), words, method("gptq", 8, "gptq")).status().message(),
               "q.scales is missing"));
}

TEST_CASE("scheme: an optional part of another type is refused, not passed over") {
  Memory zeros;
  zeros.add("q.weight_packed", Dtype::i32, Shape{8, 4});
  zeros.add("q.weight_scale", Dtype::bf16, Shape{8, 1});
  zeros.add("q.weight_zero_point", Dtype::i8, Shape{8, 1});
  CHECK(contains(
      describe_weight(place_of(8, 32), zeros, method("compressed-tensors")).status().message(),
      "q.weight_zero_point: dtype is I8, must be I32"));
  Memory map;
  map.add("q.qweight", Dtype::i32, Shape{8, 8});
  map.add("q.qzeros", Dtype::i32, Shape{2, 1});
  map.add("q.scales", Dtype::f16, Shape{2, 8});
  map.add("q.g_idx", Dtype::f32, Shape{64});
  CHECK(
      contains(describe_weight(place_of(8, 64), map, method("gptq", 32, "gptq")).status().message(),
               "q.g_idx: dtype is F32, must be I64 or I32 (gptq 4 bit group 32)"));
}

TEST_CASE("scheme: scales that cannot be name tensor, place and value") {
  const auto status_of = [](float bad) {
    Memory source;
    source.add("q.weight", Dtype::f8_e4m3, Shape{256, 256});
    source.add_f32("q.weight_scale_inv", Shape{2, 2}, {1, 2, bad, 0});
    const auto description = describe_weight(place_of(256, 256), source, method("fp8"));
    REQUIRE(description.ok());
    return check_scales(*description, source);
  };
  CHECK(status_of(3).ok());
  CHECK(contains(status_of(std::numeric_limits<float>::quiet_NaN()).message(),
                 "q.weight_scale_inv: the scale at [1, 0] is NaN"));
  CHECK(contains(status_of(std::numeric_limits<float>::infinity()).message(), "is infinity"));
  CHECK(contains(status_of(-std::numeric_limits<float>::infinity()).message(), "is -infinity"));
  CHECK(contains(status_of(-2).message(), "is -2, must not be negative"));
  CHECK(contains(status_of(1e38f).message(), "is 1e+38, must be from 0 to"));
}

TEST_CASE("scheme: a bad scale far into a long tensor is found") {
  Memory source;
  source.add("q.weight_packed", Dtype::u8, Shape{4096, 512});
  source.add("q.weight_scale", Dtype::f8_e4m3, Shape{4096, 64});
  source.add_f32("q.weight_global_scale", Shape{1}, {1});
  source.bytes("q.weight_scale")[4095 * 64 + 63] = '\x7f';
  const auto description =
      describe_weight(place_of(4096, 1024), source, method("compressed-tensors"));
  REQUIRE(description.ok());
  CHECK(contains(check_scales(*description, source).message(), "[4095, 63] is NaN"));
}

TEST_CASE("check: all missing tensors are listed, the first fifty by name") {
  std::vector<WeightPlace> places;
  for (int i = 0; i < 60; ++i) {
    WeightPlace place = place_of(2, 2);
    place.found = false;
    place.name = "lost." + std::to_string(i) + ".weight";
    places.push_back(place);
  }
  const Memory source;
  const Status status = check_weights(places, source, {}).status();
  CHECK(contains(status.message(), "60 tensors are missing"));
  CHECK(contains(status.message(), "lost.49.weight and 10 more"));
}

TEST_CASE("check: tensors that no weight is made of are handed back") {
  Memory source;
  source.add("q.weight", Dtype::f32, Shape{2, 2});
  source.add("stray", Dtype::f32, Shape{2});
  const std::vector<WeightPlace> places = {place_of(2, 2)};
  const auto check = check_weights(places, source, {});
  REQUIRE(check.ok());
  CHECK(check->unused == std::vector<std::string_view>{"stray"});
}

TEST_CASE("quant config: what is read, and what makes no sense is refused by name") {
  const auto parse = [](const char* text) {
    return parse_quant_config(Json::parse(text), "config.json");
  };
  const auto gptq = parse(
      R"({"quant_method":"gptq","bits":4,"group_size":32,"sym":true,"desc_act":true,"checkpoint_format":"gptq_v2"})");
  REQUIRE(gptq.ok());
  CHECK(gptq->method == "gptq");
  CHECK(gptq->words.bits == 4);
  CHECK(gptq->words.group_size == 32);
  CHECK((gptq->words.symmetric == true && gptq->words.desc_act == true));
  CHECK(gptq->layout == "gptq_v2");
  CHECK(parse_quant_config(nullptr, "c")->method.empty());
  CHECK(parse(R"({"quant_method":"fp8","weight_block_size":[64,32]})")->words.block_cols == 32);
  CHECK(parse(R"({"quant_algo":"NVFP4"})")->method == "modelopt");
  const std::vector<std::pair<const char*, const char*>> bad = {
      {R"({"quant_method":"foo9"})", "foo9"},
      {R"({})", "quant_method is missing"},
      {R"({"quant_method":4})", "quant_method"},
      {R"({"quant_method":"gptq","group_size":0})", "group_size is 0"},
      {R"({"quant_method":"gptq","group_size":-2})", "group_size is -2"},
      {R"({"quant_method":"gptq","group_size":18446744073709551615})", "group_size"},
      {R"({"quant_method":"gptq","bits":0})", "bits is 0"},
      {R"({"quant_method":"gptq","bits":"4"})", "bits"},
      {R"({"quant_method":"fp8","weight_block_size":[128]})", "weight_block_size"},
      {R"({"quant_method":"fp8","weight_block_size":[128,0]})", "weight_block_size"},
      {R"({"quant_method":"fp8","fmt":"float8_e5m2"})", "float8_e5m2"},
      {R"({"quant_method":"compressed-tensors","config_groups":[]})", "config_groups"},
      {R"({"quant_method":"compressed-tensors","config_groups":{"group_0":{"weights":{"group_size":0}}}})",
       "group_0: weights: group_size is 0"},
  };
  for (const auto& [text, named] : bad) {
    INFO(text);
    const auto config = parse(text);
    REQUIRE_FALSE(config.ok());
    CHECK(contains(config.status().message(), named));
  }
}
