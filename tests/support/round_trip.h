// parse(render(x)) = x: random turns of an assistant, written by the chat template and read back by
// the codec. Reasoning, content and arguments are full of markup that is not structure where it
// stands.
#pragma once

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_template.h"
#include "chat/document.h"
#include "chat/json_text.h"
#include "chat/value.h"
#include "support/parsed_output.h"

namespace mm2::chat {

class RoundTrip {
 public:
  explicit RoundTrip(uint64_t seed) : random_(seed) {}

  /// Empty, or what keeps the trips from beginning.
  std::string prepare(const std::string& template_file) {
    const auto chat = ChatTemplate::load(template_file, Host{});
    if (!chat.ok()) return chat.status().message();
    chat_ = *chat;
    for (const bool starts_in_think : {false, true}) {
      ParserOptions options;
      options.starts_in_think = starts_in_think;
      options.tools_json = kTools;
      auto parser = Parser::create(options);
      if (!parser.ok()) return parser.status().message();
      parsers_[starts_in_think] = *std::move(parser);
    }
    return "";
  }

  /// One turn there and back. Empty, or what came back differently.
  std::string next() {
    const std::string reasoning = text(5), content = text(4);
    std::vector<ParsedCall> calls;
    for (size_t n = below(4) == 0 ? below(8) : below(3); n > 0; --n) calls.push_back(call());
    const auto prompt = (*chat_).render(request(reasoning, content, calls));
    if (!prompt.ok()) return prompt.status().message();

    std::string_view output = prompt->text;
    output.remove_prefix(output.find(kTurn) + kTurn.size());
    if (!reasoning.empty()) {
      if (!output.starts_with(kThink)) return "no reasoning in " + prompt->text;
      output.remove_prefix(kThink.size());
    }
    Parsed wanted;
    wanted.reasoning = strip_newlines(reasoning);
    const bool dropped = !calls.empty() && trim(content).empty();  // C2
    wanted.content = dropped ? "" : strip_newlines(content);
    wanted.calls = std::move(calls);
    wanted.n_finish = 1;
    const size_t most = size_t{1} << below(8);
    const Parsed got =
        parse_in_pieces(*parsers_[!reasoning.empty()], output, [&] { return 1 + below(most); });
    n_calls_ += got.calls.size();
    n_bytes_ += output.size();
    return got == wanted ? "" : "not " + shown(wanted) + "\nbut " + shown(got);
  }

  size_t n_calls() const { return n_calls_; }
  size_t n_bytes() const { return n_bytes_; }

 private:
  static constexpr std::string_view kTurn = "[e~[\n]~b]ai\n";  // behind the user's message
  static constexpr std::string_view kThink = "<think>\n";

  static constexpr std::string_view kTools = R"([{"name": "f", "parameters": {"properties": {
    "a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "object"},
    "d": {"type": "boolean"}, "e": {"type": ["string", "number", "null"]}, "g": {"type": "number"},
    "h": {"type": "array"}, "i": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "j": {"enum": ["x", "</parameter> x", 3]}, "k-1": {"type": "string"}}}},
    {"type": "function", "function": {"name": "get-weather", "parameters": {"type": "object",
     "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}}}])";

  // Every marker in them is followed by something that keeps it from being one.
  static constexpr std::string_view kFragments[] = {"a",
                                                    "line\n",
                                                    "  ",
                                                    "\t",
                                                    "\"quoted\"",
                                                    "it's",
                                                    "\\n",
                                                    "<b>x</b>",
                                                    "&amp;&lt;",
                                                    "\u00e9\U0001F600",
                                                    "e\u0301",
                                                    "\u2028",
                                                    "\ufffd",
                                                    "</parameter> x",
                                                    "<parameter name=\"zz\">x",
                                                    ".<parameter name=\"b\">7",
                                                    "<invoke name=\"x\">x",
                                                    "</invoke> x",
                                                    "</invoke>\n</minimax:tool_cal>",
                                                    "</parameter>\n</invok ",
                                                    "</minimax:tool_call> x",
                                                    "<minimax:tool_call>x",
                                                    "<minimax:tool_call>\n<invoke x",
                                                    "[e~[ x",
                                                    "]~b]ai",
                                                    "]~!b[",
                                                    "</param",
                                                    "<",
                                                    "</",
                                                    "<parameter",
                                                    "<invoke name=\"",
                                                    "[e~",
                                                    "x<think>",
                                                    "{\"k\": 1}",
                                                    "{{ x }}",
                                                    "{% if %}",
                                                    "1",
                                                    "null",
                                                    "true",
                                                    "\r\n",
                                                    "\x7f\x01",
                                                    "<![CDATA[ x ]]>",
                                                    "<!-- x -->",
                                                    "\\u0041",
                                                    "</THINK>",
                                                    "</ think>",
                                                    "<tool_call>",
                                                    "%s",
                                                    "\n\n"};

  size_t below(size_t n) { return static_cast<size_t>(random_() % n); }

  std::string text(size_t most) {
    std::string out;
    for (size_t n = below(most + 1); n > 0; --n) out += kFragments[below(std::size(kFragments))];
    return out;
  }

  std::string number() { return std::to_string(static_cast<int>(below(2000)) - 1000); }

  std::string string() {
    std::string out;
    append_json_string(out, text(6));
    return out;
  }

  // JSON of a value that the type of this parameter takes.
  std::string argument(std::string_view name) {
    switch (name[0]) {
      case 'b':
        return below(9) ? number() : "123456789012345678901234567890";
      case 'c':
        return "{\"k\": [" + number() + ", null, " + string() + "], \"\u00e9\": {}}";
      case 'd':
        return below(2) ? "true" : "false";
      case 'e':  // a string that reads as a number or null would be one
        return below(3) == 0 ? "null" : below(2) ? number() : "\"s " + string().substr(1);
      case 'g':
        return number() + (below(2) ? ".25" : "e+20");
      case 'h':
        return "[1.5, {\"a\": " + string() + "}, []]";
      case 'i':
        return below(2) ? "null" : number();
      case 'j':
        return below(3) == 0 ? "3" : below(2) ? "\"x\"" : "\"</parameter> x\"";
      case 'o': {  // untyped: text that reads "null" would be null (T9)
        const std::string value = string();
        return value.find("null") == std::string::npos ? value : "\"\"";
      }
      default:
        return string();
    }
  }

  ParsedCall call() {
    static constexpr std::string_view kNames[] = {
        "a", "b", "c", "d", "e", "g", "h", "i", "j", "k-1", "other", "o>t", "o't", "o \u00e9"};
    const bool known = below(4) != 0;
    ParsedCall out{known ? "f" : "get-weather", "{", true};
    for (const std::string_view name : kNames) {
      if (below(3) != 0) continue;
      if (out.arguments.size() > 1) out.arguments += ", ";
      append_json_string(out.arguments, name);
      out.arguments += ": ";
      out.arguments += known ? argument(name) : string();
    }
    out.arguments += "}";
    return out;
  }

  std::string request(std::string_view reasoning, std::string_view content,
                      std::vector<ParsedCall>& calls) {
    std::string out =
        R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": )";
    append_json_string(out, content);
    append_json_string(out += R"(, "reasoning_content": )", reasoning);
    out += R"(, "tool_calls": [)";
    for (ParsedCall& call : calls) {
      if (&call != calls.data()) out += ", ";
      out += R"({"name": ")" + call.name + R"(", "arguments": )" + call.arguments + "}";
      call.arguments = spelled(call.arguments);
    }
    return out + "]}]}";
  }

  static std::string shown(const Parsed& p) {
    std::string out = "reasoning=[" + p.reasoning + "] content=[" + p.content + "]";
    for (const ParsedCall& c : p.calls)
      out += " " + c.name + c.arguments + (c.ended ? "" : " (not ended)");
    return out + (p.incomplete ? " incomplete " : " ") + std::string(p.fault);
  }

  // As Python spells the numbers, which is what the template prints.
  static std::string spelled(const std::string& json) {
    const auto document = parse_document(json, "arguments");
    std::string out;
    if (document.ok()) append_json(out, **document);
    return out;
  }

  static std::string strip_newlines(std::string_view text) {
    while (!text.empty() && text.front() == '\n') text.remove_prefix(1);
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    return std::string(text);
  }

  std::mt19937_64 random_;
  std::shared_ptr<const ChatTemplate> chat_;
  std::unique_ptr<Parser> parsers_[2];  // by whether the output starts in the reasoning
  size_t n_calls_ = 0, n_bytes_ = 0;
};

}  // namespace mm2::chat
