// The command line as a list of verbs. A verb's file declares its options and what it does.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "errors.h"

namespace cli {

class Program {
 public:
  Program();

  /// A verb with its help; `example` is shown at the end of `mm2 verb --help`.
  CLI::App* add_verb(const std::string& name, const std::string& description,
                     const std::string& example);
  /// What the verb does, called after the whole command line has been understood.
  void on_run(CLI::App* verb, std::function<ExitCode()> action);

  /// Runs one command line: prints help, or one line on standard error, or does the verb's work.
  int run(int argc, char** argv);

 private:
  bool has_verb(const std::string& name) const;

  CLI::App app_;
  std::function<ExitCode()> action_;
};

void add_chat(Program& program);
void add_generate(Program& program);
void add_logits(Program& program);
void add_score(Program& program);
void add_bench(Program& program);
void add_serve(Program& program);
void add_estimate(Program& program);
void add_tokenize(Program& program);
void add_detokenize(Program& program);
void add_render(Program& program);
void add_jinja(Program& program);
void add_parse(Program& program);
void add_inspect(Program& program);
void add_verify(Program& program);
void add_forensics(Program& program);
void add_merge(Program& program);
void add_tensor(Program& program);
void add_reshard(Program& program);
void add_quantize(Program& program);
void add_kv_scales(Program& program);
void add_calibrate(Program& program);
void add_experts(Program& program);
void add_megatron(Program& program);
void add_version(Program& program);
void add_doctor(Program& program);

}  // namespace cli
