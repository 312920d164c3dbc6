#include "base/json.h"

#include <catch2/catch.hpp>

using mm2::Code;
using mm2::parse_json;

TEST_CASE("json: keys keep their order") {
  auto json = parse_json(R"({"z": 1, "a": [2, {"y": null, "b": "\u00e9"}]})", "text");
  REQUIRE(json.ok());
  CHECK(json->dump() == R"({"z":1,"a":[2,{"y":null,"b":"é"}]})");
}

TEST_CASE("json: a duplicate key is refused, also when escaped, at any level") {
  for (const char* text :
       {R"({"a":1,"a":2})", R"({"a":1,"\u0061":2})", R"([{"x":{"k":1,"k":1}}])"}) {
    auto json = parse_json(text, "f.json");
    REQUIRE_FALSE(json.ok());
    CHECK(json.status().code() == Code::format);
    CHECK(json.status().message().find("duplicate key") != std::string::npos);
  }
}

TEST_CASE("json: the last duplicate wins where the caller allows duplicates") {
  auto json = parse_json(R"({"a":1,"b":3,"a":2})", "f.json", {.duplicate_keys = true});
  REQUIRE(json.ok());
  CHECK(json->dump() == R"({"a":2,"b":3})");
}

TEST_CASE("json: depth above the limit is refused without using the stack") {
  const std::string deep(100000, '[');
  auto json = parse_json(deep, "f.json");
  REQUIRE_FALSE(json.ok());
  CHECK(json.status().message().find("nesting depth above 64") != std::string::npos);
}

TEST_CASE("json: broken text is refused with its position") {
  for (const char* text :
       {"", "{", "{\"a\":}", "nul", "[1,]", "\"\xff\"", "\xef\xbb\xbf{}", "{} x", "[NaN]"}) {
    auto json = parse_json(text, "f.json");
    REQUIRE_FALSE(json.ok());
    CHECK(json.status().message().rfind("f.json: ", 0) == 0);
  }
}

TEST_CASE("json: an object with many keys parses in linear time") {
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":0";
  auto json = parse_json(text + "}", "f.json");
  REQUIRE(json.ok());
  CHECK(json->size() == 200000);
}
