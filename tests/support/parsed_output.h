// What an output means, collected from the events of a parser.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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
  std::string_view fault;  // what was wrong with the order of events (S2); empty: nothing
  bool operator==(const Parsed&) const = default;

  std::vector<ParsedCall> complete_calls() const {
    std::vector<ParsedCall> out;
    for (const ParsedCall& call : calls) {
      if (call.ended) out.push_back(call);
    }
    return out;
  }

  void add(const Event& event) {
    if (n_finish != 0) fault = "an event after finish";
    const bool open = !calls.empty() && !calls.back().ended &&
                      event.call_index + 1 == static_cast<int32_t>(calls.size());
    switch (event.kind) {
      case EventKind::reasoning:
        reasoning += event.data;
        break;
      case EventKind::text:
        content += event.data;
        break;
      case EventKind::call_begin:
        if (event.call_index != static_cast<int32_t>(calls.size())) fault = "index out of order";
        calls.push_back({std::string(event.data), "", false});
        break;
      case EventKind::call_arguments:
        if (open) {
          calls.back().arguments += event.data;
        } else {
          fault = "arguments without a call";
        }
        break;
      case EventKind::call_end:
        if (open) {
          calls.back().ended = true;
        } else {
          fault = "the end of a call that is not open";
        }
        break;
      case EventKind::finish:
        incomplete = event.incomplete;
        ++n_finish;
        break;
    }
  }
};

/// Takes what there is.
inline void pull(Parser& parser, Parsed& to) {
  for (Event event; parser.next(event);) to.add(event);
}

/// The whole output, in pieces whose lengths `cut` tells, with a parser that may have been used
/// before.
template <typename Cut>
Parsed parse_in_pieces(Parser& parser, std::string_view output, Cut cut) {
  parser.reset();
  Parsed out;
  for (size_t at = 0; at < output.size();) {
    const std::string_view piece = output.substr(at, cut());
    if (!parser.push(piece).ok()) out.fault = "push failed";
    pull(parser, out);
    at += piece.size();
  }
  if (!parser.finish().ok()) out.fault = "finish failed";
  pull(parser, out);
  if (out.n_finish != 1) out.fault = "not exactly one finish";
  return out;
}

}  // namespace mm2::chat
