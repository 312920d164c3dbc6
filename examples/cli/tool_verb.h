// A verb of mm2_tool_run on the command line: its options are said once, and what the user gave goes
// to the library as JSON, which knows all the rules.
//
//   ToolVerb verb(program, "repack", "Moves 4-bit codes into another dialect", "mm2 repack A --to awq -o B");
//   verb.model().text("--to", "to", "gptq, awq, ct").writes();
//   verb.done();
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "program.h"
#include "tool_report.h"

namespace cli {

class ToolVerb {
 public:
  ToolVerb(Program& program, const std::string& name, const std::string& description,
           const std::string& example);

  /// The positional checkpoint, resolved in the hub cache like everywhere.
  ToolVerb& model(const std::string& key = "model", bool required = true);
  /// `flag`: "--to", "-o,--out" or a positional name; `key`: the member of the options.
  ToolVerb& text(const std::string& flag, const std::string& key, const std::string& help,
                 bool required = false);
  /// Several values, separated by commas or blanks: a list.
  ToolVerb& texts(const std::string& flag, const std::string& key, const std::string& help);
  ToolVerb& integer(const std::string& flag, const std::string& key, const std::string& help);
  ToolVerb& number(const std::string& flag, const std::string& key, const std::string& help);
  ToolVerb& flag(const std::string& flag, const std::string& key, const std::string& help);
  /// true or false, to be said.
  ToolVerb& boolean(const std::string& flag, const std::string& key, const std::string& help);
  /// JSON text, or @FILE with it.
  ToolVerb& json(const std::string& flag, const std::string& key, const std::string& help);
  /// Positional values that `apply` makes options of.
  ToolVerb& values(const std::string& name, const std::string& help,
                   std::function<void(const std::vector<std::string>&, Json& options)> apply);
  /// The options of all verbs that write a checkpoint: --out, --mem, --max-shard, --dry-run.
  ToolVerb& writes(bool required = true);

  /// Registers what the verb does. `without_model`, where given, is done instead when no model was named.
  void done(std::function<ExitCode(bool json)> without_model = nullptr);

 private:
  struct State {
    Json options = Json::object();
    bool json = false;
    ProgressStyle progress = ProgressStyle::automatic;
  };

  Program& program_;
  std::string name_;
  CLI::App* verb_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace cli
