#include <catch2/catch.hpp>

#include "base/json.h"
#include "chat/arguments.h"
#include "chat/json_text.h"

using namespace mm2;
using namespace mm2::chat;

namespace {

// The value's JSON text under the schema, or "string".
std::string converted(const std::string& schema, const std::string& value) {
  const auto tools = ToolSchemas::parse(
      R"([{"name": "t", "parameters": {"properties": {"p": )" + schema +
      R"(}, "$defs": {"Int": {"type": "int"}, "a/b~c d": {"type": "bool"}, "Loop": {"$ref": "#/$defs/Loop"},
          "Tree": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Int"}]}}}}])");
  INFO(schema << ": " << tools.status().message());
  REQUIRE(tools.ok());
  std::string json = "string";
  convert_value((*tools)->find("t")->type_of("p"), value, json);
  return json;
}

}  // namespace

TEST_CASE("arguments: integers keep every digit and nothing else passes for one") {
  for (const auto& [text, json] : std::vector<std::pair<std::string, std::string>>{
           {"0", "0"},
           {"-0", "0"},
           {"+12", "12"},
           {" 007\n", "7"},
           {"-000120", "-120"},
           {std::string(500, '9'), std::string(500, '9')},
           {"", "string"},
           {"+", "string"},
           {"1.0", "string"},
           {"1_0", "string"},
           {"0x1", "string"},
           {"1 2", "string"},
           {"--1", "string"},
           {"\xD9\xA1", "string"},
           {"null", "null"},
           {" NuLL ", "null"},
           {"none", "string"},
           {"true", "string"}}) {
    INFO(text);
    CHECK(converted(R"({"type": "integer"})", text) == json);
  }
}

TEST_CASE("arguments: numbers are finite decimals, written as JSON wants them") {
  for (const auto& [text, json] :
       std::vector<std::pair<std::string, std::string>>{{"2.0", "2.0"},
                                                        {"5.", "5.0"},
                                                        {".5", "0.5"},
                                                        {"+1e3", "1e3"},
                                                        {"-00.5E-2", "-0.5E-2"},
                                                        {"1e-999", "1e-999"},
                                                        {"9007199254740993", "9007199254740993"},
                                                        {"1e999", "string"},
                                                        {std::string(400, '9'), "string"},
                                                        {"nan", "string"},
                                                        {"Infinity", "string"},
                                                        {"1e", "string"},
                                                        {".", "string"},
                                                        {"", "string"},
                                                        {"1,5", "string"},
                                                        {"1f", "string"},
                                                        {"0x10", "string"},
                                                        {"1e5 x", "string"}}) {
    INFO(text);
    CHECK(converted(R"({"type": "number"})", text) == json);
  }
}

TEST_CASE("arguments: objects and arrays are strict JSON, kept as written") {
  for (const char* text : {"{}", "[]", "[1, {\"a\": [null, true]}]", "{\"a\":1,\"a\":2}", "\"x\"",
                           "-1.5e+3", "true", "[\"\\u00e9\\n\"]", "\"\\ud83d\\uDE00\"", "[ ]",
                           "{ \"k\" : [ ] }", "[123456789012345678901234567890]"}) {
    INFO(text);
    CHECK(converted(R"({"type": "object"})", std::string(" \n") + text + "\t") == text);
  }
  for (const char* text : {"",
                           "{",
                           "[1,]",
                           "{\"a\"}",
                           "{'a': 1}",
                           "1e999",
                           "\"\\ud800x\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\ud800\"",
                           "[-1.5e+999]",
                           "{\"a\": 181e18446744073709103}",
                           "[NaN]",
                           "[01]",
                           "[1.]",
                           "[1] x",
                           "[\"\n\"]",
                           "[+1]",
                           "{\"a\":1,}",
                           "[1 2]",
                           "]",
                           "[}",
                           "{]",
                           "[\"\\x\"]",
                           "[\"\\u12g4\"]",
                           "[\"",
                           "tru",
                           "[\"\xff\"]",
                           "[\"\xed\xa0\x80\"]",
                           "//",
                           "{1: 2}",
                           "[,]",
                           "{,}",
                           "\"a\" \"b\"",
                           "[\\u0031]"}) {
    INFO(text);
    CHECK(converted(R"({"type": "array"})", text) == "string");
  }
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK(converted(R"({"type": "array"})", nested(kMaxJsonDepth)) == nested(kMaxJsonDepth));
  CHECK(converted(R"({"type": "array"})", nested(kMaxJsonDepth + 1)) == "string");
  CHECK(converted(R"({"type": "array"})", std::string(10'000'000, '[')) == "string");
}

TEST_CASE("arguments: is_json agrees with the strict parser on mutated documents") {
  const std::string seed =
      R"({"a": [1, -2.5e+3, "x\n\u00e9", true, false, null, {}, []], "b": {"c": ""}})";
  const std::string bytes = "{}[]\",:0123.eE+-ntf\\u \xC3\xA9";
  uint32_t state = 1;
  const auto random = [&](size_t n) {
    return (state = state * 1664525u + 1013904223u) / 65536u % n;
  };
  size_t n_valid = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = seed.substr(random(4) == 0 ? random(seed.size()) : 0);
    for (size_t n = random(3); n > 0; --n) text[random(text.size())] = bytes[random(bytes.size())];
    JsonLimits limits;
    limits.duplicate_keys = true;
    const auto strict = parse_json(text, "t", limits);
    INFO(text << ": " << strict.status().message());
    CHECK(is_json(trim(text)) == strict.ok());
    n_valid += strict.ok();
  }
  CHECK(n_valid > 1000);
}

TEST_CASE("arguments: unions try null, integer, number, boolean, JSON, string") {
  const std::string all =
      R"({"type": ["string", "array", "boolean", "number", "integer", "null"]})";
  CHECK(converted(all, "null") == "null");
  CHECK(converted(all, "1") == "1");
  CHECK(converted(all, "1.50") == "1.50");
  CHECK(converted(all, "TRUE") == "true");
  CHECK(converted(all, "[1]") == "[1]");
  CHECK(converted(all, "x") == "string");
  CHECK(converted(R"({"type": ["boolean", "string"]})", "1") == "true");
  CHECK(converted(R"({"type": ["boolean", "integer"]})", "1") == "1");
  CHECK(converted(R"({"oneOf": [{"type": "integer"}, {"allOf": [{"type": "null"}]}]})", "7") ==
        "7");
}

TEST_CASE("arguments: enums without a type give their members") {
  const std::string schema = R"({"enum": [1, true, "a b", 2.5, {"k": [1]}, "7", " pad "]})";
  CHECK(converted(schema, " 1 ") == "1");
  CHECK(converted(schema, "true") == "true");
  CHECK(converted(schema, "True") == "true");
  CHECK(converted(schema, "a b") == "\"a b\"");
  CHECK(converted(schema, "2.5") == "2.5");
  CHECK(converted(schema, "{\"k\": [1]}") == "{\"k\": [1]}");
  CHECK(converted(schema, "7") == "\"7\"");
  CHECK(converted(schema, " pad ") == "\" pad \"");
  CHECK(converted(schema, "null") == "string");
  CHECK(converted(schema, "8") == "string");
}

TEST_CASE("arguments: references are followed inside the tool, cycles end") {
  CHECK(converted(R"({"$ref": "#/$defs/Int"})", "4") == "4");
  CHECK(converted(R"({"$ref": "#/$defs/a~1b~0c%20d"})", "true") == "true");
  CHECK(converted(R"({"$ref": "#/$defs/Tree"})", "4") == "4");
  for (const char* bad : {"#/$defs/Loop", "#/$defs/None", "other.json#/x", "#/$defs/Int/type", "",
                          "#/properties/p"}) {
    INFO(bad);
    CHECK(converted(std::string(R"({"$ref": ")") + bad + "\"}", "4") == "string");
  }
}

TEST_CASE("arguments: malformed schemas are no type and no failure") {
  for (const char* schema :
       {"true", "7", "null", "\"string\"", "[]", "{}", R"({"type": 7})", R"({"type": {}})",
        R"({"type": [[]]})", R"({"type": "mystery"})", R"({"anyOf": 3})", R"({"anyOf": [1, null]})",
        R"({"enum": 3})", R"({"$ref": 3})", R"({"pattern": "("})", R"({"nullable": "yes"})"}) {
    INFO(schema);
    CHECK(converted(schema, "4") == "string");
    CHECK(converted(schema, " Null") == "null");
  }
  for (const char* tools :
       {"", " ", "null", "[]", "[1, null, [], {}]", R"([{"name": 3}])", R"([{"function": 3}])",
        R"([{"name": "x", "parameters": 3}])",
        R"([{"name": "x", "parameters": {"properties": []}}])",
        R"([{"name": "x", "parameters": {"properties": 3, "additionalProperties": []}}])"}) {
    INFO(tools);
    CHECK(ToolSchemas::parse(tools).ok());
  }
  CHECK(ToolSchemas::parse("[").status().code() == Code::format);
  CHECK(ToolSchemas::parse("{}").status().code() == Code::invalid_argument);
  CHECK(ToolSchemas::parse(std::string(100000, '[')).status().code() == Code::format);
}

TEST_CASE("arguments: huge schemas cost a bounded number of steps") {
  // 20,000 parameters that all mean the same union of 20,000 members.
  std::string tools = R"([{"name": "t", "parameters": {"$defs": {"U": {"anyOf": [)";
  for (int i = 0; i < 20000; ++i) tools += R"({"$ref": "#/$defs/U"},)";
  tools += R"({"type": "integer"}]}}, "properties": {)";
  for (int i = 0; i < 20000; ++i) {
    tools += (i ? ",\"p" : "\"p") + std::to_string(i) + R"(": {"$ref": "#/$defs/U"})";
  }
  tools += "}}}]";
  const auto parsed = ToolSchemas::parse(tools);
  REQUIRE(parsed.ok());
  CHECK((*parsed)->find("t")->declares("p19999"));
  CHECK((*parsed)->find("t")->type_of("p0").integer);
  CHECK((*parsed)->find("t")->type_of("p19999").untyped());  // the budget was spent before it
}
