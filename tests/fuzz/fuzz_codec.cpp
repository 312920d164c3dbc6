// Output of a model, cut anywhere. The first byte decides about the parser, the second about the
// cuts; the rest is the output.
#include <string>

#include "base/json.h"
#include "chat/markup.h"
#include "chat/parser.h"
#include "fuzz/input.h"
#include "fuzz/property.h"
#include "support/parsed_output.h"

using namespace mm2;
using namespace mm2::chat;
using fuzz::require;

namespace {

constexpr std::string_view kTools = R"([{"name": "f", "parameters": {"properties": {
  "a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "object"},
  "d": {"type": "boolean"}, "e": {"type": ["string", "number", "null"]}, "g": {"enum": ["x", 1]},
  "h": {"type": "array"}}}}, {"name": "g", "parameters": {"additionalProperties": {"type": "number"}}}])";

// Holds what S1 to S5 promise for every cut.
template <typename Cut>
Parsed parse(Parser& parser, std::string_view output, Cut cut) {
  const Parsed parsed = parse_in_pieces(parser, output, [&] {
    require(parser.held() <= kMaxGapBytes + kMaxTagBytes + 64, "what is held back is bounded");
    return cut();
  });
  require(parsed.fault.empty(), "events come in order", parsed.fault);
  require(parser.work() <= 6 * output.size() + 64, "work is linear");
  return parsed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input in(data, size);
  const uint8_t flags = in.byte();
  uint32_t state = in.byte() * 2654435761u + 1;
  const std::string_view output = in.rest();
  ParserOptions options;
  options.mode = static_cast<ParserMode>(flags % 3);
  options.starts_in_think = (flags & 4) != 0;
  if (flags & 8) options.tools_json = kTools;
  const auto parser = Parser::create(options);
  require(parser.ok(), "the parser of these tools is made");
  const Parsed whole = parse(**parser, output, [&] { return output.size(); });
  require(parse(**parser, output, [] { return size_t{1}; }) == whole, "byte by byte: the same");
  const auto random = [&] {
    state = state * 1664525u + 1013904223u;
    return size_t{1} + (state >> 24) % 24;
  };
  require(parse(**parser, output, random) == whole, "cut at random: the same");
  for (const ParsedCall& call : whole.calls) {
    if (!call.ended) continue;
    JsonLimits limits;  // an own key is never given twice; inside a value the model may do so
    limits.max_depth = 1000;
    limits.duplicate_keys = true;
    const auto arguments = parse_json(call.arguments, "arguments", limits);
    require(call.arguments.size() > 300 || (arguments.ok() && arguments->is_object()),
            "joined fragments are one JSON object", call.arguments);
  }
  return 0;
}
