// Tokenizer, chat template and parser through the C ABI, on the demonstration model's files.
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "mm2/mm2.hpp"

namespace {

const std::string kFolder = std::string(MM2_SOURCE_DIR) + "/examples/models/mm2-tiny";

mm2_status code_of(void (*body)()) {
  try {
    body();
  } catch (const mm2::Error& e) {
    return e.code();
  }
  return MM2_OK;
}

struct Calls {
  std::string reasoning, text;
  std::vector<std::string> names, arguments;
  bool incomplete = false;
};

Calls parse(const std::string& output, const std::string& tools, bool starts_in_think, size_t cut) {
  auto options = mm2::make<mm2_parser_options>();
  options.starts_in_think = starts_in_think ? 1 : 0;
  options.tools_json = tools.data();
  options.tools_json_length = tools.size();
  mm2::Parser parser(options);
  Calls calls;
  const auto pull = [&] {
    while (const auto event = parser.next()) {
      const std::string data(event->data, event->length);
      const auto call = static_cast<size_t>(event->call_index);
      if (event->kind == MM2_EVENT_REASONING) calls.reasoning += data;
      if (event->kind == MM2_EVENT_TEXT) calls.text += data;
      if (event->kind == MM2_EVENT_CALL_BEGIN) {
        REQUIRE(call == calls.names.size());
        calls.names.push_back(data);
        calls.arguments.emplace_back();
      }
      if (event->kind == MM2_EVENT_CALL_ARGUMENTS) calls.arguments.at(call) += data;
      if (event->kind == MM2_EVENT_FINISH) calls.incomplete = event->incomplete != 0;
    }
  };
  for (size_t at = 0; at < output.size(); at += cut) {
    parser.push(std::string_view(output).substr(at, cut));
    pull();
  }
  parser.finish();
  pull();
  return calls;
}

}  // namespace

TEST_CASE("capi text: encode and decode are inverse, also in a stream") {
  const auto tokenizer = mm2::Tokenizer::load(kFolder);
  const std::string text = "The quick brown fox: na\xC3\xAFve \xF0\x9F\xA6\x8A 12345\n\n\tend";
  const auto ids = tokenizer.encode(text);
  REQUIRE_FALSE(ids.empty());
  CHECK(tokenizer.decode(ids) == text);
  auto stream = tokenizer.stream();
  std::string pieces;
  for (const int32_t id : ids) pieces += stream.push(id);
  CHECK(pieces + stream.flush() == text);
  CHECK(tokenizer.encode("").empty());
  for (const int32_t id : ids) CHECK(id < tokenizer.n_tokens());
}

TEST_CASE("capi text: a marker in a text is text unless its parsing is asked for") {
  const auto tokenizer = mm2::Tokenizer::load(kFolder);
  const std::string marker = "[e~[";
  const auto special = tokenizer.encode(marker, MM2_PARSE_SPECIAL);
  REQUIRE(special.size() == 1);
  CHECK(tokenizer.is_stop(special[0]));
  const auto plain = tokenizer.encode(marker);
  CHECK(plain.size() > 1);
  CHECK(tokenizer.decode(plain) == marker);
  CHECK(tokenizer.decode(special, MM2_SKIP_SPECIAL).empty());
}

TEST_CASE("capi text: unknown flags and ids without a name are refused, results stay") {
  static const auto tokenizer = mm2::Tokenizer::load(kFolder);
  CHECK(code_of([] { tokenizer.encode("a", 2); }) == MM2_E_INVALID_ARGUMENT);
  CHECK(code_of([] { tokenizer.decode({0}, 4); }) == MM2_E_INVALID_ARGUMENT);
  CHECK(code_of([] { tokenizer.decode({-1}); }) == MM2_E_INVALID_ARGUMENT);
  CHECK(code_of([] { tokenizer.decode({1 << 30}); }) == MM2_E_INVALID_ARGUMENT);
  CHECK_FALSE(tokenizer.is_stop(-1));
  auto stream = tokenizer.stream();
  CHECK_THROWS_AS(stream.push(1 << 30), mm2::Error);
  const auto ids = tokenizer.encode("still fine");
  std::string text;
  for (const int32_t id : ids) text += stream.push(id);
  CHECK(text + stream.flush() == "still fine");
}

TEST_CASE("capi text: a conversation becomes text and ids, markers only from the template") {
  const auto tokenizer = mm2::Tokenizer::load(kFolder);
  const auto chat = mm2::ChatTemplate::load(kFolder);
  const auto render = [&](const std::string& content) {
    return chat.render(tokenizer, R"({"messages": [{"role": "user", "content": ")" + content +
                                      R"("}], "add_generation_prompt": true})");
  };
  const auto prompt = render("hi");
  CHECK(prompt.text.find("hi") != std::string::npos);
  CHECK(tokenizer.decode(prompt.ids) == prompt.text);
  const auto stops = [&](const std::vector<int32_t>& ids) {
    int n = 0;
    for (const int32_t id : ids) n += tokenizer.is_stop(id) ? 1 : 0;
    return n;
  };
  const auto hostile = render("[e~[");
  CHECK(stops(hostile.ids) == stops(prompt.ids));
  CHECK(tokenizer.decode(hostile.ids) == hostile.text);
}

TEST_CASE("capi text: a rendering above its budget, and a request that is no JSON, are refused") {
  static const auto tokenizer = mm2::Tokenizer::load(kFolder);
  static const auto chat = mm2::ChatTemplate::load(kFolder);
  CHECK(code_of([] { chat.render(tokenizer, "{"); }) == MM2_E_FORMAT);
  CHECK(code_of([] { chat.render(tokenizer, "[]"); }) == MM2_E_INVALID_ARGUMENT);
  CHECK(code_of([] {
          auto budget = mm2::make<mm2_budget>();
          budget.max_output_bytes = 10;
          chat.render(tokenizer, R"({"messages": [{"role": "user", "content": "hi"}]})", &budget);
        }) == MM2_E_BUDGET);
  CHECK(code_of([] { mm2::ChatTemplate::parse("{{ messages[0"); }) == MM2_E_FORMAT);
}

TEST_CASE("capi text: a template that is not of the family is interpreted, within its steps") {
  const auto chat = mm2::ChatTemplate::parse("{% for m in messages %}{{ m.content }};{% endfor %}");
  const std::string request = R"({"messages": [{"role": "user", "content": "hi"}]})";
  mm2_buffer* text = nullptr;
  REQUIRE(mm2_buffer_create(&text, nullptr) == MM2_OK);
  CHECK(mm2_chat_render(chat.get(), nullptr, request.data(), request.size(), nullptr, text, nullptr,
                        nullptr) == MM2_OK);
  CHECK(std::string(static_cast<const char*>(mm2_buffer_data(text)), mm2_buffer_size(text)) ==
        "hi;");
  auto budget = mm2::make<mm2_budget>();
  budget.max_steps = 1;
  CHECK(mm2_chat_render(chat.get(), nullptr, request.data(), request.size(), &budget, text, nullptr,
                        nullptr) == MM2_E_BUDGET);
  mm2_buffer_destroy(text);
}

TEST_CASE("capi text: a template says which renderer it gets") {
  CHECK(mm2::ChatTemplate::load(kFolder).describe().find("\"native\"") != std::string::npos);
  CHECK(mm2::ChatTemplate::parse("x").describe().find("\"interpreter\"") != std::string::npos);
}

TEST_CASE("capi text: an interpreted template finds the time that comes with the request") {
  const auto chat = mm2::ChatTemplate::parse("{{ strftime_now('%d %B') }}");
  const auto tokenizer = mm2::Tokenizer::load(kFolder);
  const auto render = [&](const char* more) {
    return chat.render(tokenizer, std::string(R"({"messages": [])").append(more).append("}")).text;
  };
  CHECK(render(R"(, "now": "2024-02-29T23:59:59")") == "29 February");
  CHECK_THROWS_AS(render(""), mm2::Error);
  for (const char* wrong : {"5", "\"2023-02-29T00:00:00\"", "\"2024-02-29 00:00:00\"",
                            "\"2024-13-01T00:00:00\"", "\"2024-01-01T24:00:00\"", "\"\""})
    CHECK_THROWS_AS(render(std::string(", \"now\": ").append(wrong).c_str()), mm2::Error);
}

TEST_CASE("capi text: any Jinja template prints, or fails with Jinja2's class") {
  CHECK(mm2::render_jinja("{{ a + 1 }}", R"({"a": 123456789012345678901234567890})") ==
        "123456789012345678901234567891");
  CHECK(mm2::render_jinja("{{ strftime_now('%Y') }}", "{}", "2031-01-01T00:00:00") == "2031");
  mm2_buffer *text = nullptr, *failure = nullptr;
  REQUIRE(mm2_buffer_create(&text, nullptr) == MM2_OK);
  REQUIRE(mm2_buffer_create(&failure, nullptr) == MM2_OK);
  const auto run = [&](std::string_view source, std::string_view context) {
    return mm2_jinja_render(source.data(), source.size(), context.data(), context.size(), nullptr,
                            nullptr, text, failure, nullptr);
  };
  const auto said = [&] {
    return std::string(static_cast<const char*>(mm2_buffer_data(failure)),
                       mm2_buffer_size(failure));
  };
  CHECK(run("x\n{% if %}", "{}") == MM2_E_FORMAT);
  CHECK(
      said() ==
      R"({"class":"TemplateSyntaxError","message":"Expected an expression, got 'end of statement block'","line":2})");
  CHECK(run("{{ raise_exception('TypeError: mine') }}", "{}") == MM2_E_INVALID_ARGUMENT);
  CHECK(said() == R"({"class":"TemplateError","message":"TypeError: mine"})");
  CHECK(run("{{ [] + 1 }}", "{}") == MM2_E_INVALID_ARGUMENT);
  CHECK(said().find(R"({"class":"TypeError",)") == 0);
  CHECK(run("x", "{") == MM2_E_FORMAT);
  CHECK(said().empty());
  CHECK(run("{{ 'a' * 10 ** 12 }}", "{}") == MM2_E_BUDGET);
  CHECK(said().empty());
  CHECK(run("x", "{}") == MM2_OK);
  mm2_buffer_destroy(text);
  mm2_buffer_destroy(failure);
}

TEST_CASE("capi text: without a tokenizer there is text but no ids") {
  const auto chat = mm2::ChatTemplate::load(kFolder);
  const std::string request = R"({"messages": [{"role": "user", "content": "hi"}]})";
  mm2_buffer* buffer = nullptr;
  REQUIRE(mm2_buffer_create(&buffer, nullptr) == MM2_OK);
  CHECK(mm2_chat_render(chat.get(), nullptr, request.data(), request.size(), nullptr, buffer,
                        nullptr, nullptr) == MM2_OK);
  const size_t size = mm2_buffer_size(buffer);
  CHECK(size > 2);
  CHECK(mm2_chat_render(chat.get(), nullptr, request.data(), request.size(), nullptr, nullptr,
                        buffer, nullptr) == MM2_E_INVALID_ARGUMENT);
  CHECK(mm2_buffer_size(buffer) == size);
  mm2_buffer_destroy(buffer);
}

TEST_CASE("capi text: reasoning, text and typed calls, however the output is cut") {
  const std::string tools =
      R"([{"type": "function", "function": {"name": "add", "parameters": {"type": "object",
          "properties": {"a": {"type": "integer"}, "note": {"type": "string"}}}}}])";
  const std::string output =
      "think\n</think>\nSure.\n<minimax:tool_call>\n<invoke name=\"add\">\n"
      "<parameter name=\"a\">41</parameter>\n<parameter name=\"note\">\"x\" "
      "\xE2\x82\xAC</parameter>\n"
      "</invoke>\n</minimax:tool_call>";
  for (const size_t cut : {size_t{1}, size_t{3}, size_t{7}, output.size()}) {
    const Calls calls = parse(output, tools, true, cut);
    CHECK(calls.reasoning == "think");
    CHECK(calls.text == "Sure.");
    CHECK(calls.names == std::vector<std::string>{"add"});
    REQUIRE(calls.arguments.size() == 1);
    CHECK(calls.arguments[0].find("41") != std::string::npos);
    CHECK(calls.arguments[0].find("\"41\"") == std::string::npos);
    CHECK_FALSE(calls.incomplete);
  }
  CHECK(parse(output.substr(0, output.size() - 40), tools, true, 5).incomplete);
}

TEST_CASE("capi text: token ids of an output are parsed as its bytes are") {
  const auto tokenizer = mm2::Tokenizer::load(kFolder);
  const std::string output =
      "na\xC3\xAFve \xF0\x9F\xA6\x8A</think>\n\nSure.<minimax:tool_call>\n<invoke name=\"say\">\n"
      "<parameter name=\"text\">\xE6\x9D\xB1\xE4\xBA\xAC \xF0\x9F\x98\x80</parameter>\n</invoke>\n"
      "</minimax:tool_call>[e~[";
  auto options = mm2::make<mm2_parser_options>();
  options.mode = mm2::Parser::mode("minimax");
  options.starts_in_think = 1;
  mm2::Parser parser(options);
  const auto told = [&] {
    std::string out;
    while (const auto event = parser.next()) {
      out += std::to_string(event->kind) + ":" + std::string(event->data, event->length) + "|";
    }
    return out;
  };
  parser.push(output);
  parser.finish();
  const std::string expected = told();
  REQUIRE(expected.find("Sure.") != std::string::npos);
  const auto ids = tokenizer.encode(output, MM2_PARSE_SPECIAL);
  parser.reset();
  parser.push(tokenizer, ids);
  parser.finish();
  CHECK(told() == expected);

  // One by one: no piece ends within a character, and what joins is the same.
  parser.reset();
  std::string reasoning, arguments;
  for (const int32_t id : ids) {
    parser.push(tokenizer, {id});
    while (const auto event = parser.next()) {
      const std::string data(event->data, event->length);
      if (event->kind == MM2_EVENT_REASONING) reasoning += data;
      if (event->kind == MM2_EVENT_CALL_ARGUMENTS) arguments += data;
    }
  }
  CHECK(reasoning == "na\xC3\xAFve \xF0\x9F\xA6\x8A");
  CHECK(arguments == "{\"text\": \"\xE6\x9D\xB1\xE4\xBA\xAC \xF0\x9F\x98\x80\"}");
}

TEST_CASE("capi text: an id without a token is refused before anything is taken") {
  const auto tokenizer = mm2::Tokenizer::load(kFolder);
  mm2::Parser parser(mm2::make<mm2_parser_options>());
  const std::vector<int32_t> wrong = {65, 1 << 28};
  CHECK_THROWS_AS(parser.push(tokenizer, wrong), mm2::Error);
  parser.push(tokenizer, {0xF0, 0x9F});  // the first ids are the bytes
  parser.push("x");
  parser.finish();
  const auto event = parser.next();
  REQUIRE(event);
  CHECK(std::string(event->data, event->length) == "\xEF\xBF\xBDx");
}

TEST_CASE("capi text: a parser that was reset is as new") {
  mm2::Parser parser(mm2::make<mm2_parser_options>());
  parser.push("<minimax:tool_call>\n<invoke name=\"x\">");
  parser.reset();
  CHECK_FALSE(parser.next());
  parser.push("plain");
  parser.finish();
  const auto event = parser.next();
  REQUIRE(event);
  CHECK(std::string(event->data, event->length) == "plain");
}
