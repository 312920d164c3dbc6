// Random and hostile outputs: nothing differs by how it was cut, nothing costs more than linear
// work.
#include <random>

#include "chat/chat_template.h"
#include "chat/document.h"
#include "chat/json_text.h"
#include "chat/value.h"
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

namespace {

// Pieces of values that must come back byte for byte: markup that is not structure where it stands.
const std::vector<std::string> kFragments = {"a",
                                             "line\n",
                                             "  ",
                                             "\t",
                                             "\"quoted\"",
                                             "it's",
                                             "\\n",
                                             "<b>x</b>",
                                             "&amp;",
                                             "\u00e9\U0001F600",
                                             "</parameter> x",
                                             "<parameter name=\"zz\">x",
                                             "<invoke name=\"x\">x",
                                             "</invoke> x",
                                             "</minimax:tool_call> x",
                                             "<minimax:tool_call>x",
                                             "[e~[ x",
                                             "]~b]ai",
                                             "</param",
                                             "{\"k\": 1}",
                                             "1",
                                             "null",
                                             "\r\n",
                                             "\x7f\x01"};

std::string random_text(std::mt19937& random, size_t most) {
  std::string out;
  for (size_t n = random() % (most + 1); n > 0; --n)
    out += kFragments[random() % kFragments.size()];
  return out;
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// JSON text of a value for the parameter of this name, as the codec writes it.
std::string random_argument(const std::string& name, std::mt19937& random) {
  const int number = static_cast<int>(random() % 2000) - 1000;
  switch (name[0]) {
    case 'b':
      return random() % 9 ? std::to_string(number) : "123456789012345678901234567890";
    case 'c':
      return "{\"k\": [" + std::to_string(number) + ", null, \"</parameter> x\"], \"\u00e9\": {}}";
    case 'd':
      return random() % 2 ? "true" : "false";
    case 'g':
      return std::to_string(number) + (random() % 2 ? ".25" : "e+20");
    case 'h':
      return "[1.5, {\"a\": \"x\\ny\"}, []]";
    default:
      return json_string(random_text(random, 6));
  }
}

bool is_null_text(const std::string& json_string) {
  const auto document = parse_document(json_string, "value");
  return document.ok() && trim((*document)->text) == "null";
}

std::string strip_newlines(std::string_view text) {
  while (!text.empty() && text.front() == '\n') text.remove_prefix(1);
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text);
}

}  // namespace

TEST_CASE("codec: what the template writes for a turn, the codec reads back") {
  const auto chat = ChatTemplate::load(
      MM2_TEST_DATA "/chat/templates/minimax_m2.7_official_reconstructed.jinja", Host{});
  REQUIRE(chat.ok());
  auto thinking = make_parser(kTools, true);
  auto direct = make_parser(kTools, false);
  std::mt19937 random(42);
  const std::string before = R"({"messages": [{"role": "user", "content": "q"}, )";
  for (int round = 0; round < 5000; ++round) {
    const std::string reasoning = random_text(random, 5);
    const std::string content = random_text(random, 4);
    std::string message = R"({"role": "assistant", "reasoning_content": )";
    message += json_string(reasoning);
    message += R"(, "content": )" + json_string(content) + R"(, "tool_calls": [)";
    std::vector<std::string> wanted;
    for (size_t n = random() % 3; n > 0; --n) {
      std::string arguments = "{";
      for (const char* name : {"a", "b", "c", "d", "g", "h", "other"}) {
        if (random() % 2) continue;
        std::string value = random_argument(name, random);
        // Untyped text that reads "null" is null (T9): not a string to be had back.
        if (name[0] == 'o' && is_null_text(value)) value = "\"x\"";
        if (arguments.size() > 1) arguments += ", ";
        arguments += json_string(name) + ": " + value;
      }
      arguments += "}";
      if (!wanted.empty()) message += ", ";
      message += R"({"name": "f", "arguments": )" + arguments + "}";
      const auto document = parse_document(arguments, "arguments");
      REQUIRE(document.ok());
      wanted.emplace_back();
      append_json(wanted.back(), **document);
    }
    const auto prompt = (*chat)->render(before + message + "]}]}");
    REQUIRE(prompt.ok());
    const std::string header = "]~b]ai\n", think = "<think>\n";
    std::string_view output = prompt->text;
    output.remove_prefix(prompt->text.find("[e~[\n]~b]ai\n") + 5 + header.size());
    if (!reasoning.empty()) {
      REQUIRE(output.substr(0, think.size()) == think);
      output.remove_prefix(think.size());
    }
    Parser& parser = reasoning.empty() ? *direct : *thinking;
    const Parsed got = parse(parser, pieces(output, 1 + random() % 50));
    INFO(output);
    CHECK(got.reasoning == strip_newlines(reasoning));
    const bool dropped = !wanted.empty() && trim(content).empty();  // C2
    CHECK(got.content == (dropped ? "" : strip_newlines(content)));
    CHECK_FALSE(got.incomplete);
    REQUIRE(got.calls.size() == wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      CHECK(got.calls[i].ended);
      CHECK(got.calls[i].arguments == wanted[i]);
    }
  }
}
