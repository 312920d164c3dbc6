// Rules of the codec's contract that the recorded cases leave open, and the promises about
// streaming.
#include "unit/chat/parse_helper.h"

using namespace mm2;
using namespace mm2::chat;

namespace {

const char* const kTools = R"([{"name": "f", "parameters": {"properties": {
  "s": {"type": "string"}, "t": {"type": "string"}, "i": {"type": "integer"},
  "u": {"type": ["string", "integer"]}, "j": {"type": "object"}, "n": {"type": ["string", "null"]}}}}])";

Parsed parse_f(const std::string& output, bool starts_in_think = false,
               ParserMode mode = ParserMode::minimax_m2) {
  auto parser = make_parser(kTools, starts_in_think, mode);
  const Parsed whole = parse(*parser, {output});
  CHECK(parse(*parser, pieces(output, 1)) == whole);
  CHECK(parse(*parser, pieces(output, 5)) == whole);
  return whole;
}

std::string call(const std::string& inside) {
  return "<minimax:tool_call>\n<invoke name=\"f\">\n" + inside + "</invoke>\n</minimax:tool_call>";
}

// The arguments of the one complete call.
std::string arguments(const std::string& inside) {
  const auto calls = parse_f(call(inside)).complete_calls();
  REQUIRE(calls.size() == 1);
  return calls[0].arguments;
}

}  // namespace

TEST_CASE("codec: names are quoted either way or bare, with blanks around (G3)") {
  CHECK(arguments("<parameter  \n name = \" s \" >x</parameter>") == R"({"s": "x"})");
  CHECK(arguments("<parameter name='t'>x</parameter>") == R"({"t": "x"})");
  CHECK(arguments("<parameter name=s >x</parameter>") == R"({"s": "x"})");
  CHECK(arguments("<parameter name=\"it's\">x</parameter>") == R"({"it's": "x"})");
  // Not tags: skipped with what they enclose.
  for (const char* tag : {"<parametername=\"s\">", "<parameter name=\"\">", "<parameter name=>",
                          "<parameter>", "<parameter name=\"s\" x>", "<Parameter name=\"s\">",
                          "<parameter name=\"s\"/>", "<parameter id=\"s\">"}) {
    INFO(tag);
    CHECK(arguments(std::string(tag) + "x</parameter><parameter name=\"i\">1</parameter>") ==
          R"({"i": 1})");
  }
}

TEST_CASE("codec: an opening tag of more than 4096 bytes is not structure (S5)") {
  const auto tag = [](size_t n) { return "<parameter name=\"" + std::string(n - 19, 'k') + "\">"; };
  REQUIRE(tag(4096).size() == 4096);
  CHECK(arguments(tag(4096) + "v</parameter>").size() > 4000);
  CHECK(arguments(tag(4097) + "v</parameter>") == "{}");
}

TEST_CASE("codec: a marker with more than 65536 blanks behind it does not count (S5)") {
  const std::string head =
      "<minimax:tool_call><invoke name=\"f\"><parameter name=\"s\">v</parameter>";
  const std::string tail = "</invoke></minimax:tool_call>";
  CHECK(parse_f(head + std::string(65536, ' ') + tail).complete_calls().size() == 1);
  // Then nothing closes the value but what V2 sees at the end.
  const Parsed over = parse_f(head + std::string(65537, ' ') + tail);
  REQUIRE(over.complete_calls().size() == 1);
  CHECK(over.calls[0].arguments.size() > 65536 - 1);
  const std::string block = "<minimax:tool_call>" + std::string(65537, '\n') +
                            "<invoke name=\"f\"></invoke></minimax:tool_call>";
  CHECK(parse_f(block).content == block);
}

TEST_CASE("codec: the end of the turn is the end of the output (R9)") {
  CHECK(parse_f("Hi.[e~[\n").content == "Hi.");
  CHECK(parse_f("Hi. [e~[ \n ").content == "Hi. ");
  CHECK(parse_f("[e~[ [e~[").content == "[e~[ ");
  CHECK(parse_f("[e~[x").content == "[e~[x");
  CHECK(parse_f("a[e~").content == "a[e~");
  CHECK(parse_f("why[e~[", true).reasoning == "why");
  const Parsed done = parse_f(call("<parameter name=\"s\">v</parameter>") + "\n[e~[\n");
  CHECK(done.content == "");
  CHECK(done.complete_calls().size() == 1);
  CHECK_FALSE(done.incomplete);
  // It ends an unclosed value's block too (V2), and a cut block stays cut.
  const Parsed unclosed = parse_f(
      "<minimax:tool_call><invoke name=\"f\"><parameter name=\"i\">3\n</minimax:tool_call>[e~[");
  REQUIRE(unclosed.complete_calls().size() == 1);
  CHECK(unclosed.calls[0].arguments == R"({"i": 3})");
  CHECK_FALSE(unclosed.incomplete);
  CHECK(parse_f("x<minimax:tool_call>\n[e~[").incomplete);
  CHECK(parse_f("<minimax:tool_call><invoke name=\"f\"><parameter name=\"s\">v[e~[").incomplete);
}

TEST_CASE("codec: an unclosed value ends where another parameter begins a line (V3)") {
  CHECK(arguments("<parameter name=\"s\">a \n<parameter name=\"i\">1</parameter>") ==
        R"({"s": "a", "i": 1})");
  // Not at the start of a line, not declared, the same one, or given before.
  CHECK(arguments("<parameter name=\"s\">a <parameter name=\"i\">1</parameter>") ==
        R"({"s": "a <parameter name=\"i\">1"})");
  CHECK(arguments("<parameter name=\"s\">a\n<parameter name=\"zz\">1</parameter>") ==
        R"({"s": "a\n<parameter name=\"zz\">1"})");
  CHECK(arguments("<parameter name=\"s\">a\n<parameter name=\"s\">1</parameter>") ==
        R"({"s": "a\n<parameter name=\"s\">1"})");
  CHECK(arguments("<parameter name=\"i\">1</parameter><parameter name=\"s\">a\n<parameter "
                  "name=\"i\">2</parameter>") == R"({"i": 1, "s": "a\n<parameter name=\"i\">2"})");
}

TEST_CASE("codec: a repeated parameter is ignored, whatever its type (D1)") {
  CHECK(arguments("<parameter name=\"s\">a</parameter><parameter name=\"s\">b</parameter>"
                  "<parameter name=\"i\">1</parameter><parameter name=\"i\">2</parameter>") ==
        R"({"s": "a", "i": 1})");
}

TEST_CASE("codec: empty blocks yield nothing, marked text beside them is kept") {
  CHECK(parse_f("a<minimax:tool_call> \n</minimax:tool_call>b") == parse_f("ab"));
  CHECK(parse_f("a<minimax:tool_call>b").content == "a<minimax:tool_call>b");
  CHECK(parse_f("<minimax:tool_call><invoke>").content == "<minimax:tool_call><invoke>");
  const Parsed cut = parse_f("a <minimax:tool_call> </minimax:tool");
  CHECK(cut.content == "a ");
  CHECK(cut.incomplete);
}

TEST_CASE(
    "codec: append_think keeps all text together, optthink splits only after a think prompt") {
  const std::string output = "why</think>so " + call("<parameter name=\"i\">1</parameter>");
  const Parsed appended = parse_f(output, true, ParserMode::append_think);
  CHECK(appended.reasoning == "");
  CHECK(appended.content == "<think>why</think>so ");
  CHECK(appended.complete_calls().size() == 1);
  CHECK(parse_f(output, false, ParserMode::append_think).content == "why</think>so ");
  CHECK(parse_f(output, true, ParserMode::optthink) == parse_f(output, true));
  const Parsed plain = parse_f("<think>" + output, false, ParserMode::optthink);
  CHECK(plain.reasoning == "");
  CHECK(plain.content == "<think>why</think>so ");
  ParserOptions options;
  options.mode = static_cast<ParserMode>(3);
  CHECK(Parser::create(options).status().code() == Code::invalid_argument);
}

TEST_CASE("codec: ill-formed UTF-8 passes through text and is replaced in arguments") {
  CHECK(parse_f("a\xff\xe2\x82"
                "b\xe2\x82")
            .content ==
        "a\xff\xe2\x82"
        "b\xe2\x82");
  CHECK(arguments("<parameter name=\"s\">a\xff\xe2\x82\xf0\x9f\x9a"
                  "b</parameter>") == "{\"s\": \"a\uFFFD\uFFFD\uFFFDb\"}");
  CHECK(arguments("<parameter name=\"s\">\xed\xa0\x80</parameter>") ==
        "{\"s\": \"\uFFFD\uFFFD\uFFFD\"}");
}

TEST_CASE("codec: characters arrive whole, however the bytes come (S1)") {
  const std::string text = "Z\u00fcrich \U0001F327 \u2013";
  auto parser = make_parser(kTools, false);
  for (const std::string& output : {text, call("<parameter name=\"s\">" + text + "</parameter>")}) {
    parser->reset();
    for (const char c : output) {
      REQUIRE(parser->push(std::string_view(&c, 1)).ok());
      for (Event event; parser->next(event);) {
        if (!event.data.empty()) CHECK((static_cast<unsigned char>(event.data[0]) & 0xC0) != 0x80);
      }
    }
    REQUIRE(parser->finish().ok());
  }
}

TEST_CASE("codec: a string value is passed on while it arrives (S4)") {
  for (const char* name : {"s", "u", "n", "undeclared"}) {
    auto parser = make_parser(kTools, false);
    REQUIRE(parser
                ->push("<minimax:tool_call><invoke name=\"f\"><parameter name=\"" +
                       std::string(name) + "\">")
                .ok());
    Parsed got;
    size_t n_sent = 0, n_late = 0;
    for (int i = 0; i < 4000; ++i) {
      REQUIRE(parser->push("word ").ok());
      n_sent += 5;
      pull(*parser, got);
      REQUIRE(got.calls.size() == 1);
      n_late = std::max(n_late, n_sent + 7 - std::min(n_sent, got.calls[0].arguments.size()));
    }
    INFO(name);
    CHECK(n_late <= 16);
  }
}

TEST_CASE("codec: text before a possible marker does not wait for it (S3)") {
  auto parser = make_parser(kTools, false);
  Parsed got;
  REQUIRE(parser->push("if a <").ok());
  pull(*parser, got);
  CHECK(got.content == "if a ");
  REQUIRE(parser->push(" b\n").ok());
  pull(*parser, got);
  CHECK(got.content == "if a < b");
  CHECK(parser->held() == 0);
}

TEST_CASE("codec: a finished parser takes nothing more until it is reset") {
  auto parser = make_parser(kTools, false);
  REQUIRE(parser->push("a").ok());
  REQUIRE(parser->finish().ok());
  CHECK(parser->push("b").code() == Code::invalid_argument);
  CHECK(parser->finish().code() == Code::invalid_argument);
  Parsed got;
  pull(*parser, got);
  CHECK(got.content == "a");
  parser->reset();
  CHECK(parse(*parser, {"b"}).content == "b");
}

TEST_CASE("codec: events not pulled in time are kept") {
  auto parser = make_parser(kTools, false);
  const std::string output = "text " + call("<parameter name=\"s\">v w</parameter>") + " more";
  const Parsed wanted = parse(*parser, {output});
  parser->reset();
  for (const char c : output) REQUIRE(parser->push(std::string_view(&c, 1)).ok());
  REQUIRE(parser->finish().ok());
  Parsed got;
  pull(*parser, got);
  CHECK(got == wanted);
}
