// mm2 parse: a model's output to reasoning, content and tool calls.
#include <cstdio>

#include "json_io.h"
#include "output_parser.h"
#include "program.h"

namespace cli {
namespace {

struct ParseOptions {
  bool json_lines = false;
  bool starts_in_think = false;
  std::string tools_file, mode = "minimax_m2";
};

int32_t mode_of(const std::string& name) {
  int32_t mode = MM2_PARSER_MINIMAX_M2;
  call("reading mode", mm2_parser_mode, name.c_str(), &mode);
  return mode;
}

Json output_json(const ParsedOutput& output) {
  Json calls = Json::array();
  for (const ToolCall& call : output.calls) {
    calls.push_back({{"name", call.name}, {"arguments", call.arguments}});
  }
  return {{"reasoning", output.reasoning},
          {"content", output.content},
          {"tool_calls", calls},
          {"incomplete", output.incomplete},
          {"deltas", output.n_deltas}};
}

std::vector<std::string> strings_of(const Json& array, const std::string& doing) {
  std::vector<std::string> strings;
  for (const Json& element : array) {
    if (!element.is_string()) {
      throw Failure(kInvalidInput, doing,
                    "chunks[" + std::to_string(strings.size()) + "] is " + to_text(element) +
                        "; a string is needed");
    }
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

/// The output as it arrives: pieces of `every` bytes, the given chunks, or all at once.
std::vector<std::string> pieces_of(const Json& request) {
  const std::string doing = "reading chunks";
  Json every = request.value("every", Json());
  if (const auto chunks = request.find("chunks"); chunks != request.end()) {
    if (chunks->is_array()) return strings_of(*chunks, doing);
    if (chunks->is_object()) every = chunks->value("every", Json());
  }
  const std::string output = string_of(request, "output");
  if (every.is_null()) return {output};
  if (!every.is_number_integer() || every < 1) {
    throw Failure(kInvalidInput, doing,
                  "\"every\" is " + to_text(every) + "; at least 1 is needed");
  }
  const auto size = every.get<size_t>();
  std::vector<std::string> pieces;
  for (size_t at = 0; at < output.size(); at += size) pieces.push_back(output.substr(at, size));
  return pieces;
}

Json parse_line(const std::string& line) {
  const Json request = parse_request(line);
  ParsedOutput answer;
  OutputParser parser(
      mode_of(string_of(request, "mode", "minimax_m2")), flag_of(request, "starts_in_think"),
      raw_member(line, "tools"),
      [&answer](const mm2_event& event, std::string_view data) { answer.add(event, data); });
  for (const std::string& piece : pieces_of(request)) parser.push(piece);
  parser.finish();
  return output_json(answer);
}

void print_for_person(const ParsedOutput& answer) {
  if (!answer.reasoning.empty()) std::printf("reasoning:\n%s\n\n", answer.reasoning.c_str());
  if (!answer.content.empty()) std::printf("content:\n%s\n\n", answer.content.c_str());
  for (const auto& call : answer.calls) {
    std::printf("tool call: %s %s\n", call.name.c_str(), call.arguments.c_str());
  }
  if (answer.incomplete) std::printf("The output broke off inside a tool call.\n");
}

ExitCode run_parse(const ParseOptions& options) {
  if (options.json_lines) return run_json_lines(parse_line);
  const std::string tools = options.tools_file.empty() ? "" : read_file(options.tools_file);
  ParsedOutput answer;
  OutputParser parser(
      mode_of(options.mode), options.starts_in_think, tools,
      [&answer](const mm2_event& event, std::string_view data) { answer.add(event, data); });
  parser.push(read_standard_input());
  parser.finish();
  print_for_person(answer);
  return kOk;
}

}  // namespace

void add_parse(Program& program) {
  const auto options = std::make_shared<ParseOptions>();
  CLI::App* verb = program.add_verb("parse", "Reasoning, content and tool calls of an output",
                                    "mm2 parse --starts-in-think < output.txt");
  verb->add_flag(
      "--jsonl", options->json_lines,
      "{\"output\", \"tools\", \"starts_in_think\", \"mode\", \"chunks\"} a line in, "
      "{\"reasoning\", \"content\", \"tool_calls\", \"incomplete\", \"deltas\"} a line out");
  verb->add_flag("--starts-in-think", options->starts_in_think,
                 "the prompt ended inside the reasoning block");
  verb->add_option("--tools", options->tools_file, "file with a JSON array of tool definitions")
      ->type_name("FILE");
  verb->add_option("--mode", options->mode,
                   "minimax_m2, minimax_m2_append_think or minimax_m2_optthink");
  program.on_run(verb, [options] { return run_parse(*options); });
}

}  // namespace cli
