#include "tools/experts/mask.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>

#include "support/golden.h"

using namespace mm2;

namespace {

const std::string kMasks = std::string(MM2_TEST_DATA) + "/tools/match/masks/";

std::string text_of(const std::string& name) {
  std::ifstream file(kMasks + name);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Expected {
  Json json = golden::read_json(kMasks + "expected.json");
  MaskShape shape{json.at("layers").get<int32_t>(), json.at("experts").get<int32_t>(),
                  json.at("delete_per_layer").get<int32_t>()};
  void check(const ExpertMask& mask) const {
    REQUIRE(mask.n_layers() == shape.n_layers);
    CHECK(mask.n_experts == shape.n_experts);
    CHECK(mask.n_deleted() == shape.n_deleted);
    for (int32_t layer = 0; layer < shape.n_layers; ++layer) {
      CHECK(Json(mask.deleted[static_cast<size_t>(layer)]) ==
            json.at("deleted").at(std::to_string(layer)));
    }
  }
};

}  // namespace

TEST_CASE("mask: every form of the same mask loads to the same mask") {
  const Expected expected;
  int n = 0;
  for (const char* group : {"must_load", "should_load_to_the_same_mask"}) {
    for (const Json& entry : expected.json.at(group)) {
      const auto name = entry.get<std::string>();
      INFO(name);
      const std::string file = name.substr(0, name.find(' '));
      const auto mask = parse_mask(text_of(file), file, expected.shape);
      INFO(mask.status().message());
      REQUIRE(mask.ok());
      expected.check(*mask);
      ++n;
    }
  }
  CHECK(n == 7);
}

TEST_CASE("mask: wrong counts, duplicates and ids out of range are refused with layer and id") {
  const Expected expected;
  int n = 0;
  for (const Json& entry : expected.json.at("must_be_refused")) {
    const auto name = entry.get<std::string>();
    INFO(name);
    const auto mask = parse_mask(text_of(name), name, expected.shape);
    CHECK(mask.status().code() == Code::format);
    CHECK(mask.status().message().find(name) != std::string::npos);
    ++n;
  }
  CHECK(n == 12);
  const auto why = [&](const std::string& name) {
    return parse_mask(text_of(name), name, expected.shape).status().message();
  };
  CHECK(why("bad_duplicate_id.json").find("layer 1 names expert 0 twice") != std::string::npos);
  CHECK(why("bad_out_of_range.json").find("layer 2 names expert 24") != std::string::npos);
  CHECK(why("bad_unequal_counts.json").find("layer 3 lists 5 experts; wanted are 6") !=
        std::string::npos);
  CHECK(why("bad_missing_layer.json").find("layer 2 is missing") != std::string::npos);
  CHECK(why("bad_extra_layer.json").find("layer 4") != std::string::npos);
}

TEST_CASE("mask: a printed Python dict is refused with what it is, ids may be text") {
  const Expected expected;
  const std::string name = "deleted_experts_int_keys.txt";
  const auto mask = parse_mask(text_of(name), name, expected.shape);
  CHECK(mask.status().code() == Code::format);
  CHECK(mask.status().message().find("Python dict") != std::string::npos);
  CHECK(parse_mask(R"({"0": ["1", 2]})", "m", {1, 4, 2}).ok());
  CHECK_FALSE(parse_mask(R"({"0": ["01", 2]})", "m", {1, 4, 2}).ok());
  CHECK_FALSE(parse_mask(R"({"0": ["1", "1"]})", "m", {1, 4, 2}).ok());
  CHECK_FALSE(parse_mask(R"({"0": [1, 2], "model.layers.0.mlp": [1, 2]})", "m", {1, 4, 2}).ok());
  CHECK_FALSE(parse_mask(R"({"0": [18446744073709551615, 2]})", "m", {1, 4, 2}).ok());
  CHECK_FALSE(parse_mask(R"({"0": [true, 2, true, false]})", "m", {1, 4, 2}).ok());
  CHECK_FALSE(parse_mask("3", "m", {1, 4, 2}).ok());
}

TEST_CASE("mask: the writer gives the seed's file, byte for byte") {
  const Expected expected;
  const std::string text = text_of("deleted_experts.json");
  const auto mask = parse_mask(text, "m", expected.shape);
  REQUIRE(mask.ok());
  CHECK(mask_text(*mask) == text);
  const auto again = parse_mask(mask_text(*mask), "m", expected.shape);
  REQUIRE(again.ok());
  expected.check(*again);
}

TEST_CASE("mask: when half of the experts go, lists are of those that go unless told otherwise") {
  const MaskShape half{1, 4, 2};
  CHECK(parse_mask(R"({"0": [0, 1]})", "m", half)->deleted[0] == std::vector<int32_t>{0, 1});
  const auto retained = parse_mask(R"({"0": [0, 1]})", "m", half, MaskMeaning::retained);
  CHECK(retained->deleted[0] == std::vector<int32_t>{2, 3});
  CHECK(retained->retained(0) == std::vector<int32_t>{0, 1});
  // Nor may one layer list those that go and the next those that stay.
  const auto mixed = parse_mask(R"([[0], [1, 2, 3]])", "m", {2, 4, 1});
  CHECK(mixed.status().message().find("layer 1") != std::string::npos);
}

TEST_CASE("mask: a shape that leaves nothing is refused") {
  CHECK(parse_mask("{}", "m", {1, 4, 4}).status().code() == Code::invalid_argument);
  CHECK(parse_mask("{}", "m", {0, 4, 1}).status().code() == Code::invalid_argument);
  CHECK(parse_mask("{}", "m", {1, 0, -1}).status().code() == Code::invalid_argument);
  CHECK(parse_mask(R"({"0": []})", "m", {1, 4, 0})->n_deleted() == 0);
}
