// Random and hostile outputs: nothing differs by how it was cut, nothing costs more than linear
// work.
#include <random>

#include "support/round_trip.h"
#include "unit/chat/parse_helper.h"

using namespace mm2;
using namespace mm2::chat;

namespace {

const char* const kTools = R"([{"name": "f", "parameters": {"properties": {
  "a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "object"}, "d": {"type": "boolean"},
  "e": {"type": ["string", "number", "null"]}, "g": {"type": "number"}, "h": {"type": "array"}}}}])";

}  // namespace

TEST_CASE("codec: whatever the markers, cuts change nothing and arguments are JSON") {
  const std::vector<std::string> parts = {"<minimax:tool_call>",
                                          "</minimax:tool_call>",
                                          "<invoke name=\"f\">",
                                          "</invoke>",
                                          "<invoke name='g'>",
                                          "<parameter name=\"a\">",
                                          "<parameter name=\"b\">",
                                          "<parameter name=\"e\">",
                                          "<parameter name=zz>",
                                          "</parameter>",
                                          "<think>",
                                          "</think>",
                                          "[e~[",
                                          "]~b]",
                                          "\n",
                                          " ",
                                          "\n\n",
                                          "7",
                                          "null",
                                          "tru",
                                          "{\"k\": [1]}",
                                          "x",
                                          "text",
                                          "<",
                                          "</",
                                          "\xc3\xa9",
                                          "\xff",
                                          "\xe2\x82",
                                          "\"",
                                          "<minimax:",
                                          "<invoke name=\"",
                                          "<parameter ",
                                          "[e~"};
  std::mt19937 random(20260102);
  size_t n_calls = 0, n_different = 0, n_invalid = 0;
  for (const bool starts : {false, true}) {
    auto parser = make_parser(kTools, starts);
    for (int round = 0; round < 6000; ++round) {
      std::string output;
      for (size_t n = random() % 24; n > 0; --n) {
        // Half of the time something that fits, so that blocks get deep enough to matter.
        const size_t pick = random() % 2 ? random() % 10 : random() % parts.size();
        output += parts[pick];
      }
      if (random() % 2) {
        output = "<minimax:tool_call><invoke name=\"f\"><parameter name=\"a\">" + output;
      }
      const Parsed whole = parse(*parser, {output});
      n_different += parse(*parser, pieces(output, 1)) != whole;
      n_different += parse(*parser, pieces(output, 1 + random() % 9)) != whole;
      for (const ParsedCall& call : whole.complete_calls()) {
        ++n_calls;
        JsonLimits strict;
        strict.max_depth = 1000;
        n_invalid += !parse_json(call.arguments, "arguments", strict).ok();
      }
    }
  }
  CHECK(n_different == 0);
  CHECK(n_invalid == 0);
  CHECK(n_calls > 1000);
}

TEST_CASE("codec: work is linear in the output and held-back text is bounded") {
  const std::string open = "<minimax:tool_call><invoke name=\"f\"><parameter name=\"a\">";
  const std::string gap(60000, ' ');
  const std::vector<std::pair<std::string, std::string>> families = {
      {"", "<"},
      {"", "</"},
      {"", "<minimax:tool_call>"},
      {"", "<minimax:tool_call> "},
      {"", "\n"},
      {"", " "},
      {"", "[e~["},
      {"", "[e~[ "},
      {"", "</think>"},
      {"", "<think>"},
      {"", "<minimax:tool_call><invoke name=\""},
      {"", "<minimax:tool_call>" + gap + "x"},
      {"", "[e~[" + gap + "x"},
      {"", "<minimax:tool_call>" + gap + "[e~["},
      {"<minimax:tool_call><invoke name=\"f\">", "<parameter name="},
      {"<minimax:tool_call><invoke name=\"f\">", "<parameter name=\"a\">v</parameter>"},
      {"<minimax:tool_call>", "<invoke name=\"f\"></invoke>"},
      {open, "<invoke name="},
      {open, "</parameter>"},
      {open, "</parameter> "},
      {open, "</parameter><parameter name=\""},
      {open, "</parameter><parameter name='</parameter><parameter name=\""},
      {open, "\n<parameter name=\"b\" "},
      {open, "</parameter>" + gap},
      {open, "</invoke>" + gap + "x"},
      {open, "</parameter>" + gap + "[e~["},
      {open, "\n"},
      {open, " x"},
      {open, "</invoke>"},
      {open, "</minimax:tool_call>"},
      {open, "\xe2\x82"},
      {"<minimax:tool_call><invoke name=\"f\"><parameter name=\"c\">", "["},
      {"<minimax:tool_call><invoke name=\"f\"><parameter name=\"e\">", " "},
      {"<minimax:tool_call><invoke name=\"f\"><parameter name=\"g\">", "9"}};
  for (const auto& [head, part] : families) {
    std::string output = head;
    while (output.size() < 1000000) output += part;
    for (const size_t n : {size_t{1}, size_t{1000}, output.size()}) {
      INFO(head << " then " << part.substr(0, 60) << " in pieces of " << n);
      auto parser = make_parser(kTools, false);
      size_t held = 0;
      for (const std::string_view piece : pieces(output, n)) {
        if (!parser->push(piece).ok()) FAIL("push");
        for (Event event; parser->next(event);) {
        }
        held = std::max(held, parser->held());
      }
      REQUIRE(parser->finish().ok());
      // A byte is scanned, probed as a follower and as a candidate of its own, each in few ways.
      CHECK(parser->work() <= 6 * output.size());
      CHECK(held <= 65536 + 4096 + 64);
    }
  }
}

TEST_CASE("codec: what the template writes for a turn, the codec reads back") {
  RoundTrip trips(42);
  REQUIRE(trips.prepare(MM2_TEST_DATA
                        "/chat/templates/minimax_m2.7_official_reconstructed.jinja") == "");
  size_t n_different = 0;
  for (int turn = 0; turn < 100000; ++turn) {
    const std::string difference = trips.next();
    if (difference.empty()) continue;
    ++n_different;
    if (n_different < 4) UNSCOPED_INFO("turn " << turn << ": " << difference);
  }
  CHECK(n_different == 0);
  CHECK(trips.n_calls() > 100000);
}
