// JSON into values: the same texts are accepted as by a strict reader, with the same content.
#include "chat/document.h"

#include <random>

#include <catch2/catch.hpp>

#include "base/json.h"

using namespace mm2;
using namespace mm2::chat;

namespace {

// As a document of the other library, where numbers keep their digits as strings.
Json to_json(const Value& value) {
  switch (value.kind) {
    case Value::Kind::null:
      return nullptr;
    case Value::Kind::boolean:
      return value.flag;
    case Value::Kind::integer:
      return Json::parse(value.text);
    case Value::Kind::real:
      return value.real;
    case Value::Kind::string:
      return std::string(value.text);
    case Value::Kind::array: {
      Json out = Json::array();
      for (const Value& item : value.items) out.push_back(to_json(item));
      return out;
    }
    case Value::Kind::object: {
      Json out = Json::object();
      for (size_t i = 0; i < value.items.size(); ++i)
        out[std::string(value.keys[i])] = to_json(value.items[i]);
      return out;
    }
  }
  return nullptr;
}

std::string message_of(const std::string& text) {
  const auto document = parse_document(text, "it");
  return document.ok() ? "" : document.status().message();
}

}  // namespace

TEST_CASE("document: accepts what a strict reader accepts, and holds the same") {
  const std::vector<std::string> parts = {"{",
                                          "}",
                                          "[",
                                          "]",
                                          ",",
                                          ":",
                                          "\"a\"",
                                          "\"a\": ",
                                          "\"b\\u00e9\\n\"",
                                          "\"\\ud83d\\ude00\"",
                                          "\"\\ud83d\"",
                                          "\"\\x\"",
                                          "\"tab\t\"",
                                          "\"\"",
                                          "1",
                                          "-0",
                                          "0",
                                          "01",
                                          "-",
                                          "1.5",
                                          "1.",
                                          ".5",
                                          "1e5",
                                          "1E+05",
                                          "1e",
                                          "1e999",
                                          "123456789",
                                          "true",
                                          "false",
                                          "null",
                                          "nul",
                                          " ",
                                          "\n",
                                          "\t",
                                          "\"\xC3\xA9\"",
                                          "\"\xC3\"",
                                          "\"",
                                          "\\",
                                          "/",
                                          "'",
                                          "\x00",
                                          "NaN",
                                          "{\"k\": [1, {\"k\": 2}], \"k\": 3}"};
  std::mt19937 random(5);
  size_t n_accepted = 0, n_different = 0;
  for (int i = 0; i < 60000; ++i) {
    std::string text;
    for (size_t n = 1 + random() % 7; n > 0; --n) text += parts[random() % parts.size()];
    const auto ours = parse_document(text, "it");
    JsonLimits limits;
    limits.duplicate_keys = true;
    limits.max_depth = 256;
    const auto theirs = parse_json(text, "it", limits);
    if (ours.ok() != theirs.ok() || (ours.ok() && to_json(**ours) != *theirs)) {
      ++n_different;
      INFO(text << "\nours: " << ours.status().message()
                << "\ntheirs: " << theirs.status().message());
      CHECK(false);
      if (n_different > 5) return;
    }
    n_accepted += ours.ok();
  }
  CHECK(n_accepted > 2000);
}

TEST_CASE("document: every cut of a text is refused, with line and column") {
  const std::string text =
      "{\"a\": [1, 2.5e-3, \"x\\u00e9\\\"y\", null, true],\n \"b\": {\"c\": [], \"d\": {}}}";
  REQUIRE(message_of(text).empty());
  for (size_t n = 0; n < text.size(); ++n)
    CHECK(message_of(text.substr(0, n)).find("it: line ") == 0);
  CHECK(message_of("{\"a\": 1,\n  \"b\" 2}") == "it: line 2, column 7: expected ':', found '2'");
  CHECK(message_of("[1 2]") == "it: line 1, column 4: expected ',' or ']', found '2'");
  CHECK(message_of("[1,]") == "it: line 1, column 4: expected a value, found ']'");
  CHECK(message_of("1 x") == "it: line 1, column 3: expected the end, found 'x'");
  CHECK(message_of("\"a\x01\"").find("a control character") != std::string::npos);
  CHECK(message_of("1e999").find("too large") != std::string::npos);
  CHECK(message_of("\xEF\xBB\xBF{}").find("byte order mark") != std::string::npos);
  CHECK(message_of("\"\xff\"") == "it: byte 1 is not UTF-8");
  CHECK(message_of(std::string("1\0", 2)) ==
        "it: line 1, column 2: expected the end, found byte 0");
}

TEST_CASE("document: depth and digits are bounded") {
  const auto nested = [](int n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK(message_of(nested(kMaxValueDepth)).empty());
  CHECK(message_of(nested(kMaxValueDepth + 1)).find("depth") != std::string::npos);
  CHECK(message_of(std::string(100000, '[')).find("depth") != std::string::npos);
  CHECK(message_of(std::string(4300, '7')).empty());
  CHECK(message_of(std::string(4301, '7')).find("4300 digits") != std::string::npos);
}

TEST_CASE("document: of equal keys the last value stands in the place of the first") {
  for (const size_t n_more : {0, 3, 14, 15, 16, 40}) {
    std::string text = "{\"x\": 1, \"y\": [1]";
    for (size_t i = 0; i < n_more; ++i) text += ", \"k" + std::to_string(i) + "\": 0";
    text += ", \"x\": {\"x\": 5, \"x\": 6}, \"y\": 2, \"y\": 3}";
    const auto document = parse_document(text, "it");
    REQUIRE(document.ok());
    const Value& root = **document;
    REQUIRE(root.items.size() == n_more + 2);
    CHECK(root.keys[0] == "x");
    CHECK(root.items[0].find("x")->text == "6");
    CHECK(root.keys[1] == "y");
    CHECK(root.items[1].text == "3");
  }
}

TEST_CASE("document: many members and long strings") {
  std::string text = "{";
  for (int i = 0; i < 100000; ++i)
    text += "\"key number " + std::to_string(i) + "\": \"" + std::to_string(i) + "\\n\",";
  text += "\"long\": \"" + std::string(1 << 20, 'x') + "\"}";
  const auto document = parse_document(text, "it");
  REQUIRE(document.ok());
  REQUIRE((*document)->items.size() == 100001);
  CHECK((*document)->find("key number 77777")->text == "77777\n");
  CHECK((*document)->find("long")->text.size() == 1 << 20);
}
