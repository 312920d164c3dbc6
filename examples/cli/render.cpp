// mm2 render: a conversation to the prompt that the model's chat template makes of it.
#include <cstdio>

#include "json_io.h"
#include "model_path.h"
#include "options.h"
#include "program.h"

namespace cli {
namespace {

struct RenderOptions {
  std::string model;
  bool json_lines = false;
};

struct Renderer {
  Tokenizer tokenizer;
  ChatTemplate chat;

  /// {"text", "ids"} of a request in JSON.
  Json render(const std::string& request) const {
    Buffer text, ids;
    call("rendering the conversation", mm2_chat_render, chat.get(), tokenizer.get(), request.data(),
         request.size(), nullptr, text.get(), ids.get());
    return {{"text", text.text()}, {"ids", ids.ids()}};
  }
};

/// A person may type a plain message instead of JSON.
std::string request_of(const std::string& input) {
  const size_t begin = input.find_first_not_of(" \t\r\n");
  if (begin != std::string::npos && input[begin] == '{') return input;
  const Json message = {{"role", "user"}, {"content", input}};
  return to_text({{"messages", Json::array({message})}, {"add_generation_prompt", true}});
}

ExitCode run_render(const RenderOptions& options) {
  const std::string path = find_model(options.model);
  Renderer renderer;
  renderer.tokenizer = make<Tokenizer>("loading the tokenizer of " + path, mm2_tokenizer_load,
                                       path.c_str(), nullptr);
  renderer.chat = make<ChatTemplate>("loading the chat template of " + path, mm2_chat_template_load,
                                     path.c_str(), nullptr);
  // A line goes to the library as it is: the order of its keys is part of the prompt.
  if (options.json_lines) {
    return run_json_lines([&](const std::string& line) { return renderer.render(line); });
  }
  const Json prompt = renderer.render(request_of(read_standard_input()));
  const auto& text = prompt["text"].get_ref<const std::string&>();
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!text.empty() && text.back() != '\n') std::fputc('\n', stdout);
  std::fprintf(stderr, "%zu tokens\n", prompt["ids"].size());
  return kOk;
}

}  // namespace

void add_render(Program& program) {
  const auto options = std::make_shared<RenderOptions>();
  CLI::App* verb = program.add_verb("render", "The prompt that a conversation becomes",
                                    "echo 'Who are you?' | mm2 render examples/models/mm2-tiny");
  add_model(verb, options->model);
  verb->add_flag("--jsonl", options->json_lines,
                 "{\"messages\", \"tools\", \"add_generation_prompt\", \"kwargs\"} a line in, "
                 "{\"text\", \"ids\"} a line out");
  program.on_run(verb, [options] { return run_render(*options); });
}

}  // namespace cli
