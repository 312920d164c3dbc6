// mm2: run, check and inspect checkpoints of the MiniMax-M2 family from a shell.
#include <cstdio>
#include <new>

#include "program.h"

namespace cli {
namespace {

std::string unknown_verb(const std::string& name) {
  if (name == "serve") return "this program was built without the server (cpp-httplib was missing)";
  return "there is no verb '" + name + "'; `mm2 --help` lists all of them";
}

int complain(const std::string& line, ExitCode exit_code) {
  std::fflush(stdout);
  std::fprintf(stderr, "mm2: %s\n", line.c_str());
  return exit_code;
}

/// Standard output may be a full disk or a closed pipe; a result that was lost is not a success.
int finish_output(int exit_code) {
  if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return exit_code;
  return complain("writing standard output: not everything could be written", kResources);
}

}  // namespace

Program::Program() : app_("Run, check and inspect checkpoints of the MiniMax-M2 family.", "mm2") {
  app_.require_subcommand(0, 1);
  app_.get_formatter()->column_width(36);
  app_.footer("`mm2 VERB --help` shows the options of a verb and an example.");
}

CLI::App* Program::add_verb(const std::string& name, const std::string& description,
                            const std::string& example) {
  CLI::App* verb = app_.add_subcommand(name, description);
  verb->footer("Example:\n  " + example);
  return verb;
}

bool Program::has_verb(const std::string& name) const {
  const auto named = [&name](const CLI::App* verb) { return verb->get_name() == name; };
  return !app_.get_subcommands(named).empty();
}

void Program::on_run(CLI::App* verb, std::function<ExitCode()> action) {
  verb->final_callback([this, action = std::move(action)] { action_ = action; });
}

int Program::run(int argc, char** argv) {
  const std::string reading = "reading the command line: ";
  try {
    if (argc > 1 && argv[1][0] != '-' && !has_verb(argv[1])) {
      return complain(reading + unknown_verb(argv[1]), kUsage);
    }
    app_.parse(argc, argv);
    if (!action_) return complain(reading + "a verb is missing; `mm2 --help` lists them", kUsage);
    return finish_output(action_());
  } catch (const CLI::Success& help) {
    return finish_output(app_.exit(help));
  } catch (const CLI::ParseError& error) {
    return complain(reading + error.what(), kUsage);
  } catch (const Failure& failure) {
    return complain(failure.what(), failure.exit_code());
  } catch (const std::bad_alloc&) {
    return complain("running out of memory: an allocation failed", kResources);
  } catch (const std::exception& error) {
    return complain(std::string("stopping after an unexpected error: ") + error.what(), kResources);
  }
}

}  // namespace cli

int main(int argc, char** argv) {
  cli::Program program;
  cli::add_chat(program);
  cli::add_generate(program);
  cli::add_logits(program);
  cli::add_score(program);
  cli::add_bench(program);
#ifdef MM2_CLI_HAS_SERVER
  cli::add_serve(program);
#endif
  cli::add_estimate(program);
  cli::add_tokenize(program);
  cli::add_detokenize(program);
  cli::add_render(program);
  cli::add_jinja(program);
  cli::add_parse(program);
  cli::add_inspect(program);
  cli::add_verify(program);
  cli::add_forensics(program);
  cli::add_merge(program);
  cli::add_tensor(program);
  cli::add_reshard(program);
  cli::add_quantize(program);
  cli::add_kv_scales(program);
  cli::add_calibrate(program);
  cli::add_experts(program);
  cli::add_megatron(program);
  cli::add_doctor(program);
  cli::add_version(program);
  return program.run(argc, argv);
}
