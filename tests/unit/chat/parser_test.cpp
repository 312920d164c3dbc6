#include <fstream>
#include <random>

#include "unit/chat/parse_helper.h"

using namespace mm2;
using namespace mm2::chat;

namespace {

const Json& cases() {
  static const Json document = [] {
    std::ifstream in(MM2_TEST_DATA "/chat/toolcall_cases.json", std::ios::binary);
    return Json::parse(in);
  }();
  return document["cases"];
}

// Members in any order, numbers by value, integers exactly.
bool same(const Json& a, const Json& b) {
  if (a.is_object() && b.is_object()) {
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a.items()) {
      if (!b.contains(key) || !same(value, b[key])) return false;
    }
    return true;
  }
  if (a.is_array() && b.is_array()) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i) {
      if (!same(a[i], b[i])) return false;
    }
    return true;
  }
  return a == b;
}

bool meets(const Parsed& got, const Json& expect) {
  const auto calls = got.complete_calls();
  if (got.reasoning != expect["reasoning"] || got.content != expect["content"] ||
      got.incomplete != expect.value("incomplete", false) ||
      calls.size() != expect["tool_calls"].size()) {
    return false;
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    const Json& want = expect["tool_calls"][i];
    if (calls[i].name != want["name"] ||
        !same(Json::parse(calls[i].arguments), want["arguments"])) {
      return false;
    }
  }
  return true;
}

std::string show(const Parsed& p) {
  std::string out = "reasoning=[" + p.reasoning + "] content=[" + p.content + "]";
  for (const ParsedCall& c : p.calls) {
    out += " " + c.name + c.arguments + (c.ended ? "" : " (not ended)");
  }
  return out + (p.incomplete ? " incomplete" : "");
}

}  // namespace

TEST_CASE("parser: the 130 cases of the contract, as the first expectation has them") {
  REQUIRE(cases().size() == 130);
  for (const Json& c : cases()) {
    const std::string output = c["output"];
    auto parser = make_parser(c["tools"].dump(), c["starts_in_think"]);
    const Parsed got = parse(*parser, {output});
    INFO(c["id"] << ": " << output << "\n-> " << show(got) << "\nwanted " << c["expect"]);
    CHECK(meets(got, c["expect"]));
  }
}

TEST_CASE("parser: any split of the 130 cases gives the same result") {
  std::mt19937 random(7);
  for (const Json& c : cases()) {
    const std::string output = c["output"];
    const std::string_view view = output;
    auto parser = make_parser(c["tools"].dump(), c["starts_in_think"]);
    const Parsed whole = parse(*parser, {view});
    INFO(c["id"]);
    for (const size_t n : {1, 2, 3, 7}) CHECK(parse(*parser, pieces(view, n)) == whole);
    if (c.contains("chunks")) {
      std::vector<std::string> owned = c["chunks"];
      CHECK(parse(*parser, {owned.begin(), owned.end()}) == whole);
    }
    size_t n_different = 0;
    for (size_t cut = 0; cut <= view.size(); ++cut) {
      n_different += parse(*parser, {view.substr(0, cut), view.substr(cut)}) != whole;
    }
    for (int round = 0; round < 100; ++round) {
      std::vector<std::string_view> chunks;
      for (size_t at = 0; at < view.size();) {
        const size_t n = 1 + random() % 40;
        chunks.push_back(view.substr(at, n));
        at += n;
      }
      n_different += parse(*parser, chunks) != whole;
    }
    CHECK(n_different == 0);
  }
}
