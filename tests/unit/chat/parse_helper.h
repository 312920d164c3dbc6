// Parsers and what they make of an output, for tests.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "chat/parser.h"
#include "support/parsed_output.h"

namespace mm2::chat {

inline std::unique_ptr<Parser> make_parser(std::string_view tools, bool starts_in_think,
                                           ParserMode mode = ParserMode::minimax_m2) {
  ParserOptions options;
  options.mode = mode;
  options.starts_in_think = starts_in_think;
  options.tools_json = tools;
  auto parser = Parser::create(options);
  INFO(parser.status().message());
  REQUIRE(parser.ok());
  return *std::move(parser);
}

// Parses `chunks` with a parser that may have been used before.
inline Parsed parse(Parser& parser, const std::vector<std::string_view>& chunks) {
  parser.reset();
  Parsed out;
  for (const std::string_view chunk : chunks) {
    if (!parser.push(chunk).ok()) FAIL("push");
    pull(parser, out);
  }
  if (!parser.finish().ok()) FAIL("finish");
  pull(parser, out);
  if (out.n_finish != 1) FAIL("not exactly one finish");
  if (!out.fault.empty()) FAIL(out.fault);
  return out;
}

inline std::vector<std::string_view> pieces(std::string_view text, size_t n) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < text.size(); at += n) out.push_back(text.substr(at, n));
  return out;
}

}  // namespace mm2::chat
