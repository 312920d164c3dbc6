// What an output means, collected from the events of a parser.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "chat/parser.h"

namespace mm2::chat {

struct ParsedCall {
  std::string name;
  std::string arguments;
  bool ended = false;
  bool operator==(const ParsedCall&) const = default;
};

struct Parsed {
  std::string reasoning;
  std::string content;
  std::vector<ParsedCall> calls;  // also those that never ended
  bool incomplete = false;
  int n_finish = 0;
  bool operator==(const Parsed&) const = default;

  std::vector<ParsedCall> complete_calls() const {
    std::vector<ParsedCall> out;
    for (const ParsedCall& call : calls) {
      if (call.ended) out.push_back(call);
    }
    return out;
  }
};

// Pulls what there is; checks the order that S2 promises.
inline void pull(Parser& parser, Parsed& to) {
  for (Event event; parser.next(event);) {
    if (to.n_finish != 0) FAIL("an event after finish");
    switch (event.kind) {
      case EventKind::reasoning:
        to.reasoning += event.data;
        break;
      case EventKind::text:
        to.content += event.data;
        break;
      case EventKind::call_begin:
        if (event.call_index != static_cast<int32_t>(to.calls.size())) FAIL("index out of order");
        to.calls.push_back({std::string(event.data), "", false});
        break;
      case EventKind::call_arguments:
        if (to.calls.empty() || to.calls.back().ended) FAIL("arguments without a call");
        to.calls.back().arguments += event.data;
        break;
      case EventKind::call_end:
        to.calls.back().ended = true;
        break;
      case EventKind::finish:
        to.incomplete = event.incomplete;
        ++to.n_finish;
        break;
    }
  }
}

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
  return out;
}

inline std::vector<std::string_view> pieces(std::string_view text, size_t n) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at < text.size(); at += n) out.push_back(text.substr(at, n));
  return out;
}

}  // namespace mm2::chat
