// Time and memory of the output codec: ordinary output and twelve families made to be slow, each from
// 64 KB to 16 MB. Events are pulled after every piece, as a server does.
//
//   codec_bench          prints one Markdown table for ordinary output and one for the families
//   codec_bench --quick  the same up to 1 MB
//
// "growth" is the largest T(2n)/T(n); "memory" what the parser holds at most beyond its first state
// while 4-byte pieces come, next to the bytes it says it holds back.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/parser.h"
#include "support/counted_memory.h"

namespace {

using namespace mm2::chat;

constexpr std::string_view kTools = R"([{"name": "write_file", "parameters": {"properties": {
  "path": {"type": "string"}, "text": {"type": "string"}, "line": {"type": "integer"},
  "options": {"type": "object"}, "force": {"type": "boolean"}}}}])";
constexpr std::string_view kOpen =
    "<minimax:tool_call>\n<invoke name=\"write_file\">\n<parameter name=\"text\">";

std::string repeated(std::string_view unit, size_t size) {
  std::string text;
  text.reserve(size + unit.size());
  while (text.size() < size) text += unit;
  text.resize(size);
  return text;
}

std::string all_markers(size_t size) {
  return repeated(
      "<think></think><minimax:tool_call></minimax:tool_call><invoke name=\"f\"></invoke>"
      "<parameter name=\"a\"></parameter>[e~[]~b]",
      size);
}

std::string all_prefixes(size_t size) {
  std::string unit;
  for (const std::string_view marker :
       {"<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>", "<invoke name=\"f\">",
        "</invoke>", "<parameter name=\"a\">", "</parameter>", "[e~["}) {
    for (size_t n = 1; n < marker.size(); ++n) unit += marker.substr(0, n);
  }
  return repeated(unit, size);
}

std::string random_bytes(size_t size) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < size) {
    state = state * 1664525u + 1013904223u;
    text += static_cast<char>(state >> 24);
  }
  return text;
}

std::string many_parameters(size_t size) {
  std::string text;
  for (size_t i = 0; text.size() < size; ++i) {
    text += "<parameter name=\"p" + std::to_string(i) + "\">v</parameter>\n";
  }
  text.resize(size);
  return text;
}

struct Family {
  const char* name;
  std::string_view head;
  std::function<std::string(size_t)> text;
};

std::vector<Family> families() {
  const auto of = [](std::string unit) {
    return [unit](size_t size) { return repeated(unit, size); };
  };
  constexpr std::string_view kBlock = "<minimax:tool_call>\n",
                             kCall = "<minimax:tool_call>\n<invoke name=\"f\">\n";
  return {
      {"one letter", "", of("a")},
      {"`<`", "", of("<")},
      {"`</` in a value", kOpen, of("</")},
      {"every marker in turn", "", all_markers},
      {"every beginning of a marker, in a value", kOpen, all_prefixes},
      {"unclosed blocks", "", of("<minimax:tool_call>")},
      {"invokes that never close", kBlock, of("<invoke name=\"f\">")},
      {"`</parameter>` and spaces, in a value", kOpen, of("</parameter>    ")},
      {"quotes in turn, in a value", kOpen, of("\"'\\")},
      {"random bytes, in a value", kOpen, random_bytes},
      {"one call, a new parameter every 35 bytes", kCall, many_parameters},
      {"a name without end", kBlock,
       [](size_t size) { return "<invoke name=\"" + repeated("a", size); }},
  };
}

// Reasoning, an answer and calls with a file's text, over and over.
std::string ordinary(size_t size) {
  std::string turn =
      "The user wants the parser to be faster. First I look at how the buffer grows: each push "
      "appends a few bytes, and a < b holds for most of them.\n\nThen the candidates.\n</think>\n\n"
      "Let me write the new version; it's short.\n<minimax:tool_call>\n<invoke "
      "name=\"write_file\">\n"
      "<parameter name=\"path\">src/parser/buffer.cpp</parameter>\n<parameter "
      "name=\"line\">12</parameter>\n"
      "<parameter name=\"options\">{\"mode\": \"w\", \"backup\": [1, 2]}</parameter>\n<parameter "
      "name=\"text\">";
  for (int i = 0; i < 12; ++i) {
    turn +=
        "for (size_t i = 0; i < n; ++i) {\n  if (text[i] == '\\n') "
        "lines->push_back(\"line\");\n}\n";
  }
  turn += "</parameter>\n</invoke>\n</minimax:tool_call>\n";
  return repeated(turn, size);
}

std::unique_ptr<Parser> make_parser(bool starts_in_think) {
  ParserOptions options;
  options.tools_json = kTools;
  options.starts_in_think = starts_in_think;
  auto parser = Parser::create(options);
  return parser.ok() ? *std::move(parser) : nullptr;
}

struct Run {
  double seconds = 0;
  size_t memory = 0, held = 0, events = 0;
};

Run run_once(Parser& parser, std::string_view output, size_t piece) {
  Run run;
  parser.reset();
  const size_t before = counted_memory::held;
  counted_memory::most = before;
  const auto begin = std::chrono::steady_clock::now();
  const auto pull = [&] {
    for (Event event; parser.next(event);) run.events += event.data.size() + 1;
  };
  for (size_t at = 0; at < output.size(); at += piece) {
    (void)parser.push(output.substr(at, piece)).ok();
    pull();
    run.held = std::max(run.held, parser.held());
  }
  (void)parser.finish().ok();
  pull();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  run.seconds = taken.count();
  run.memory = counted_memory::most - before;
  return run;
}

void measure(const char* name, std::string_view head,
             const std::function<std::string(size_t)>& text, size_t largest, size_t piece,
             bool starts_in_think = false) {
  std::vector<std::string> outputs;
  for (size_t size = 64 << 10; size <= largest; size *= 2) {
    outputs.push_back(std::string(head) + text(size));
  }
  // The best of many, sizes in turn: a machine that is slower for a while is so for all of them.
  std::vector<Run> best(outputs.size());
  for (int round = 0; round < 8; ++round) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      double spent = 0;
      do {
        const auto parser = make_parser(starts_in_think);  // of its own: memory from nothing
        const Run run = run_once(*parser, outputs[i], piece);
        spent += run.seconds;
        if (best[i].events == 0 || run.seconds < best[i].seconds) best[i] = run;
      } while (spent < 0.004);
    }
  }
  double growth = 0;
  for (size_t i = 1; i < best.size(); ++i) {
    growth = std::max(growth, best[i].seconds / best[i - 1].seconds);
  }
  const Run& last = best.back();
  std::printf("| %s | %zu | %.0f MB/s | %.2f | %.0f KB | %.1f KB |\n", name,
              std::min(piece, largest), static_cast<double>(largest) / last.seconds / 1e6, growth,
              static_cast<double>(last.memory) / 1e3, static_cast<double>(last.held) / 1e3);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t largest = argc > 1 && std::string_view(argv[1]) == "--quick" ? 1 << 20 : 16 << 20;
  std::printf(
      "| output | bytes a piece | speed at %zu MB | growth | memory | held back "
      "|\n|---|---|---|---|---|---|\n",
      largest >> 20);
  for (const size_t piece : {size_t{1}, size_t{4}, size_t{64}, size_t{4096}}) {
    measure("ordinary", "", ordinary, largest, piece, true);
  }
  measure(
      "one string argument", kOpen, [](size_t n) { return repeated("some words of a text, ", n); },
      largest, 4);
  for (const Family& family : families())
    measure(family.name, family.head, family.text, largest, 4);
  return 0;
}
