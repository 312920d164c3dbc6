// mm2 jinja: the output of any Jinja template.
#include <cstdio>
#include <ctime>

#include "json_io.h"
#include "program.h"

namespace cli {
namespace {

// The conformance data was made at this time; whoever compares lines wants equal ones every day.
constexpr const char* kConformanceTime = "2026-01-02T03:04:05";

struct JinjaOptions {
  bool json_lines = false;
  std::string template_file, context_file, now;
};

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &local);
  return text;
}

/// The output, or a Failure whose code is the class that Jinja2 would have raised.
std::string render(const std::string& source, const std::string& context, const std::string& now) {
  const std::string doing = "rendering the template";
  Buffer text, failure;
  mm2_error error = new_error();
  const mm2_status status =
      mm2_jinja_render(source.data(), source.size(), context.data(), context.size(), now.c_str(),
                       nullptr, text.get(), failure.get(), &error);
  if (status == MM2_OK) return std::string(text.text());
  if (failure.text().empty()) throw Failure(status, doing, error);
  const Json what = Json::parse(failure.text());
  const auto name = what["class"].get<std::string>();
  const auto message = what["message"].get<std::string>();
  throw Failure(kInvalidInput, doing, name + ": " + message).with_answer(name, message);
}

ExitCode run_jinja(const JinjaOptions& options) {
  const bool has_file = !options.template_file.empty();
  const std::string source = has_file ? read_file(options.template_file) : "";
  if (options.json_lines) {
    const std::string now = options.now.empty() ? kConformanceTime : options.now;
    return run_json_lines([&](const std::string& line) -> Json {
      const Json request = parse_request(line);
      const std::string own = has_file ? source : string_of(request, "template");
      const std::string context = raw_member(line, "context");
      return {
          {"text", render(own, context.empty() ? "{}" : context, string_of(request, "now", now))}};
    });
  }
  const std::string context = options.context_file.empty() ? "{}" : read_file(options.context_file);
  const std::string output = render(has_file ? source : read_standard_input(), context,
                                    options.now.empty() ? local_time() : options.now);
  std::fwrite(output.data(), 1, output.size(), stdout);
  if (!output.empty() && output.back() != '\n') std::fputc('\n', stdout);
  return kOk;
}

}  // namespace

void add_jinja(Program& program) {
  const auto options = std::make_shared<JinjaOptions>();
  CLI::App* verb =
      program.add_verb("jinja", "The output of a Jinja template", "echo '{{ 6 * 7 }}' | mm2 jinja");
  verb->add_flag("--jsonl", options->json_lines,
                 "{\"template\", \"context\"} a line in, {\"text\"} a line out; the code of an "
                 "error is Jinja2's class");
  verb->add_option("--template-file", options->template_file,
                   "the template, instead of standard input or of one a line")
      ->type_name("FILE");
  verb->add_option("--context", options->context_file, "file with the variables, a JSON object")
      ->type_name("FILE");
  verb->add_option("--now", options->now,
                   std::string("time for strftime_now, as in ") + kConformanceTime +
                       ", which is the default with --jsonl; otherwise the system's")
      ->type_name("TIME");
  program.on_run(verb, [options] { return run_jinja(*options); });
}

}  // namespace cli
