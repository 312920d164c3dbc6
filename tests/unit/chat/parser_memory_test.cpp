// What the codec holds while an output arrives does not grow with the output. Counts every byte that
// is allocated.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "chat/markup.h"
#include "support/counted_memory.h"
#include "support/parsed_output.h"

using namespace mm2::chat;

namespace {

constexpr std::string_view kOpen =
    "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"a\">";

// Held at most while `unit` comes over and over behind `head`, in pieces.
size_t most_held(std::string_view head, std::string_view unit, size_t n_bytes, size_t piece) {
  ParserOptions options;
  options.tools_json =
      R"([{"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}])";
  const auto parser = Parser::create(options);
  REQUIRE(parser.ok());
  std::string text(head);
  text.reserve(piece + unit.size() + head.size());
  const size_t before = counted_memory::held;
  counted_memory::most = before;
  size_t sum = 0;
  for (size_t sent = 0; sent < n_bytes; sent += piece) {
    while (text.size() < piece) text += unit;
    if (!(*parser)->push(std::string_view(text).substr(0, piece)).ok()) FAIL("push");
    text.erase(0, piece);
    for (Event event; (*parser)->next(event);) sum += event.data.size();
  }
  if (!(*parser)->finish().ok()) FAIL("finish");
  return counted_memory::most - before;
}

}  // namespace

TEST_CASE("codec: memory does not grow with the output") {
  // A tag that is no tag in the end, the white space behind a marker and before the end of a value,
  // each grown to twice its size at most while it is appended to.
  constexpr size_t kBound = 2 * (kMaxTagBytes + 3 * kMaxGapBytes) + 16384;
  const std::vector<std::pair<std::string_view, std::string_view>> families = {
      {"", "some words "},
      {"", "<"},
      {"", "\n"},
      {"", " "},
      {"", "<minimax:tool_call>"},
      {"", "<minimax:tool_call> \n \n"},
      {"", "</think>[e~[ "},
      {"<minimax:tool_call>", "<invoke name=\"f\">"},
      {"<minimax:tool_call>", "<invoke name=\""},
      {"<minimax:tool_call><invoke name=\"f\">", "<parameter name=\"a\">v</parameter>"},
      {kOpen, "some words "},
      {kOpen, "\"'\\\xFF"},
      {kOpen, "</parameter>"},
      {kOpen, "</parameter>    "},
      {kOpen, "</invoke> "},
      {kOpen, " "},
      {kOpen, "\n<parameter name=\"b\" "},
  };
  for (const auto& [head, unit] : families) {
    for (const size_t piece : {4, 1000}) {
      INFO(head << " then " << unit << " in pieces of " << piece);
      CHECK(most_held(head, unit, 1 << 20, piece) <= kBound + 8 * piece);
    }
  }
}

TEST_CASE("codec: a call holds the names that it was given, and little more") {
  // 20,000 names of 8 bytes: what the set of them takes, doubled while it grows.
  std::string output = "<minimax:tool_call><invoke name=\"f\">";
  for (int i = 0; i < 20000; ++i) {
    output += "<parameter name=\"p" + std::to_string(1000000 + i) + "\">v</parameter>";
  }
  ParserOptions options;
  const auto parser = Parser::create(options);
  REQUIRE(parser.ok());
  const size_t before = counted_memory::held;
  counted_memory::most = before;
  for (size_t at = 0; at < output.size(); at += 64) {
    if (!(*parser)->push(std::string_view(output).substr(at, 64)).ok()) FAIL("push");
    for (Event event; (*parser)->next(event);) {
    }
  }
  CHECK(counted_memory::most - before <= 20000 * 128);
}
