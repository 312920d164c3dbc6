#include "tool_verb.h"

#include <fstream>
#include <sstream>

#include "model_path.h"

namespace cli {

ToolVerb::ToolVerb(Program& program, const std::string& name, const std::string& description,
                   const std::string& example)
    : program_(program), name_(name), verb_(program.add_verb(name, description, example)) {
  verb_->add_flag("--json", state_->json, "one JSON object");
  integer("--threads", "threads", "worker threads");
  flag("--strict", "strict", "remarks count as failures");
  add_progress(verb_, state_->progress);
}

ToolVerb& ToolVerb::model(const std::string& key, bool required) {
  const auto state = state_;
  verb_
      ->add_option_function<std::string>(
          key, [state, key](const std::string& value) { state->options[key] = find_model(value); },
          "checkpoint folder, .safetensors file or config.json")
      ->required(required)
      ->type_name("MODEL");
  return *this;
}

ToolVerb& ToolVerb::text(const std::string& flag, const std::string& key, const std::string& help,
                         bool required) {
  const auto state = state_;
  verb_
      ->add_option_function<std::string>(
          flag, [state, key](const std::string& value) { state->options[key] = value; }, help)
      ->required(required);
  return *this;
}

ToolVerb& ToolVerb::texts(const std::string& flag, const std::string& key,
                          const std::string& help) {
  const auto state = state_;
  verb_
      ->add_option_function<std::vector<std::string>>(
          flag,
          [state, key](const std::vector<std::string>& values) { state->options[key] = values; },
          help)
      ->delimiter(',');
  return *this;
}

ToolVerb& ToolVerb::integer(const std::string& flag, const std::string& key,
                            const std::string& help) {
  const auto state = state_;
  verb_->add_option_function<int64_t>(
      flag, [state, key](const int64_t& value) { state->options[key] = value; }, help);
  return *this;
}

ToolVerb& ToolVerb::number(const std::string& flag, const std::string& key,
                           const std::string& help) {
  const auto state = state_;
  verb_->add_option_function<double>(
      flag, [state, key](const double& value) { state->options[key] = value; }, help);
  return *this;
}

ToolVerb& ToolVerb::flag(const std::string& flag, const std::string& key, const std::string& help) {
  const auto state = state_;
  verb_->add_flag_function(
      flag, [state, key](int64_t) { state->options[key] = true; }, help);
  return *this;
}

ToolVerb& ToolVerb::boolean(const std::string& flag, const std::string& key,
                            const std::string& help) {
  const auto state = state_;
  verb_->add_option_function<bool>(
      flag, [state, key](const bool& value) { state->options[key] = value; }, help);
  return *this;
}

ToolVerb& ToolVerb::json(const std::string& flag, const std::string& key, const std::string& help) {
  const auto state = state_;
  verb_
      ->add_option_function<std::string>(
          flag,
          [state, key, flag](const std::string& value) {
            std::string text = value;
            if (text.rfind('@', 0) == 0) {
              std::ifstream file(text.substr(1), std::ios::binary);
              if (!file)
                throw Failure(kInvalidInput, "reading " + text.substr(1), "it cannot be opened");
              std::ostringstream all;
              all << file.rdbuf();
              text = all.str();
            }
            state->options[key] = parse_json(text, "reading " + flag);
          },
          help)
      ->type_name("JSON|@FILE");
  return *this;
}

ToolVerb& ToolVerb::values(
    const std::string& name, const std::string& help,
    std::function<void(const std::vector<std::string>&, Json& options)> apply) {
  const auto state = state_;
  verb_
      ->add_option_function<std::vector<std::string>>(
          name,
          [state, apply = std::move(apply)](const std::vector<std::string>& values) {
            apply(values, state->options);
          },
          help)
      ->required();
  return *this;
}

ToolVerb& ToolVerb::writes(bool required) {
  text("-o,--out", "out", "the folder to write; it must not exist", required);
  text("--mem", "mem", "memory for the work, like 1.5G");
  text("--max-shard", "max_shard", "bytes of a shard, like 5G");
  flag("--dry-run", "dry_run", "say what would be written, and write nothing");
  return *this;
}

void ToolVerb::done(std::function<ExitCode(bool json)> without_model) {
  program_.on_run(verb_, [name = name_, state = state_, without_model] {
    if (without_model && !state->options.contains("model")) return without_model(state->json);
    return run_tool(name, state->options, state->json, state->progress);
  });
}

}  // namespace cli
