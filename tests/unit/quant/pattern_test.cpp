#include "quant/pattern.h"

#include <catch2/catch.hpp>
#include <string>

using namespace mm2;

namespace {

Pattern pattern(const std::string& text) {
  auto compiled = Pattern::compile(text);
  INFO(text << ": " << compiled.status().message());
  REQUIRE(compiled.ok());
  return *compiled;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("pattern: the constructs that quantisers write") {
  struct Case {
    const char* text;
    const char* name;
    bool at_start, anywhere;
  };
  const Case cases[] = {
      {R"(.*self_attn\.(q|k|v|o)_proj$)", "model.layers.0.self_attn.q_proj", true, true},
      {R"(.*self_attn\.(q|k|v|o)_proj$)", "model.layers.0.self_attn.q_proj.x", false, false},
      {R"(.*experts\.[0-9]+\.w[123]$)", "a.experts.17.w2", true, true},
      {R"(.*experts\.[0-9]+\.w[123]$)", "a.experts..w2", false, false},
      {R"(w2)", "a.w2", false, true},
      {R"(^w2)", "a.w2", false, false},
      {R"(w2$|w3)", "w2", true, true},
      {R"(model\.layers\.\d{2}\.)", "model.layers.07.x", true, true},
      {R"(model\.layers\.\d{2}\.)", "model.layers.7.x", false, false},
      {R"(a{2,3}b)", "aab", true, true},
      {R"(a{2,3}b)", "aaaab", false, true},
      {R"(^a{2,3}b)", "aaaab", false, false},
      {R"(a{,1}b)", "b", true, true},
      {R"(a{x})", "a{x}", true, true},
      {R"((?:ab)+c)", "ababc", true, true},
      {R"((ab|a)(c|bcd)$)", "abcd", true, true},
      {R"([^.]+\.x)", "ab.x", true, true},
      {R"([^.]+\.x)", "a.b.x", false, true},
      {R"([]a]b)", "]b", true, true},
      {R"([a\-z]b)", "-b", true, true},
      {R"([\d_]+$)", "1_2", true, true},
      {R"(\w+\W\w+$)", "a_1.b", true, true},
      {R"(a??b)", "ab", true, true},
      {R"()", "anything", true, true},
      {R"(()*x)", "x", true, true},
      {R"((a*)*$)", "aaab", false, true},
  };
  for (const Case& c : cases) {
    INFO(c.text << " on " << c.name);
    CHECK(pattern(c.text).at_start(c.name) == c.at_start);
    CHECK(pattern(c.text).anywhere(c.name) == c.anywhere);
  }
}

TEST_CASE("pattern: what is none, or more than is supported, is refused with its place") {
  const std::pair<const char*, const char*> broken[] = {
      {"(a", "a ( without its )"},      {"a)", "a ) without its ("},
      {"[a", "a [ without its ]"},      {"*a", "nothing to repeat"},
      {"a\\", "ends with a backslash"}, {"[z-a]", "from more to less"},
      {"a{3,2}", "from more to less"}};
  for (const auto& [text, why] : broken) {
    INFO(text);
    const Status status = Pattern::compile(text).status();
    CHECK(status.code() == Code::format);
    CHECK(contains(status.message(), why));
    CHECK(contains(status.message(), "at byte "));
  }
  const std::pair<const char*, const char*> beyond[] = {
      {"(?!x)y", "only (?:"},
      {"(a)\\1", "\\1 is not supported"},
      {"a{2000}", "above 1000"},
      {"(a{500}){500}", "too large"},
      {"((((){1000}){1000}){1000}){1000}", "too large"}};
  for (const auto& [text, why] : beyond) {
    INFO(text);
    const Status status = Pattern::compile(text).status();
    CHECK(status.code() == Code::unsupported);
    CHECK(contains(status.message(), why));
  }
  CHECK(contains(Pattern::compile(std::string(2000, 'a')).status().message(), "too large"));
  CHECK(contains(Pattern::compile(std::string(100, '(')).status().message(), "nested too deep"));
}

TEST_CASE("pattern: time is linear where backtracking would never end") {
  const std::string name(100'000, 'a');
  CHECK_FALSE(pattern("(a+)+(a|aa)*b").at_start(name));
  CHECK_FALSE(pattern("(.*)*(.*)*(.*)*x$").at_start(name));
}
