// mm2 chat: a conversation in a terminal, or one answer for a script.
#include <algorithm>
#include <cstdio>

#include "answer_display.h"
#include "conversation.h"
#include "interrupt.h"
#include "line_editor.h"
#include "model_path.h"
#include "program.h"

namespace cli {
namespace {

constexpr int32_t kDefaultMaxTokens = 4096;
constexpr int64_t kDefaultKvTokens = 16384;

struct ChatOptions {
  std::string model, prompt, system, tools_file;
  bool no_think = false, show_stats = false, show_reasoning = false, json = false, once = false;
  int32_t max_tokens = kDefaultMaxTokens;
  SamplingFlags sampling;
  EngineFlags engine;
};

Json read_tools(const std::string& path) {
  const Json tools = parse_json(read_file(path), "reading " + path);
  if (!tools.is_array()) {
    throw Failure(kInvalidInput, "reading " + path, "it holds no JSON array of tool definitions");
  }
  return tools;
}

std::string stats_line(const Answer& answer, const Sequence& sequence) {
  const GenerationResult& g = answer.generation;
  const size_t n_computed = answer.prompt_tokens - g.n_reused;
  char line[256];
  std::snprintf(
      line, sizeof line,
      "[prompt %zu tokens, %zu reused, %.0f tok/s; answer %zu tokens, %.1f tok/s; context %zu of "
      "%lld]",
      answer.prompt_tokens, g.n_reused,
      g.prefill_seconds > 0 ? static_cast<double>(n_computed) / g.prefill_seconds : 0.0,
      g.ids.size(),
      g.decode_seconds > 0 ? static_cast<double>(g.n_decode_steps) / g.decode_seconds : 0.0,
      sequence.held().size(), static_cast<long long>(sequence.info().kv_tokens));
  return line;
}

/// The short form, for people.
std::string status_line(const Answer& answer, const Sequence& sequence) {
  const GenerationResult& g = answer.generation;
  const auto room =
      static_cast<double>(std::min(sequence.info().kv_tokens, sequence.info().max_positions));
  const size_t held = sequence.held().size();
  char line[160];
  std::snprintf(line, sizeof line, "[%zu tokens, %.1f tok/s; context %zu of %.0f, %.0f %%]",
                g.ids.size(),
                g.decode_seconds > 0 ? static_cast<double>(g.n_decode_steps) / g.decode_seconds : 0,
                held, room, 100.0 * static_cast<double>(held) / room);
  return line;
}

Json answer_json(const Answer& answer) {
  Json calls = Json::array();
  for (const ToolCall& call : answer.output.calls) {
    calls.push_back({{"name", call.name}, {"arguments", call.arguments}});
  }
  return {{"reasoning", answer.output.reasoning},
          {"content", answer.output.content},
          {"tool_calls", calls},
          {"finish_reason", stop_name(answer.generation.stop)},
          {"usage",
           {{"prompt_tokens", answer.prompt_tokens},
            {"cached_tokens", answer.generation.n_reused},
            {"completion_tokens", answer.generation.ids.size()}}}};
}

/// What a person at the prompt can do.
class ChatLoop {
 public:
  ChatLoop(const ChatOptions& options, Conversation& conversation, const Sequence& sequence)
      : options_(options), conversation_(conversation), sequence_(sequence) {}

  /// Until the end of input, /exit, or Ctrl-C twice at the prompt.
  ExitCode run() {
    if (editor_.interactive()) std::printf("/help lists the commands, Ctrl-D ends the chat.\n");
    ExitCode result = kOk;
    while (const auto line = read_line()) {
      if (line->empty()) continue;
      if (line->front() == '/') {
        if (!run_command(*line, result)) break;
        continue;
      }
      conversation_.add_user(*line);
      result = answer_and_ask_tools();
    }
    if (editor_.interactive()) std::printf("\n");
    return editor_.interactive() ? kOk : result;
  }

  /// One answer to the history; a failure is reported and the chat goes on, unless a script runs it.
  ExitCode answer_once() {
    AnswerDisplay display(options_.json, options_.show_reasoning);
    try {
      last_ = conversation_.answer(
          [&](const mm2_event& event, std::string_view data) { display.show(event, data); },
          [&](size_t n_done, size_t n_tokens) { display.show_prompt(n_done, n_tokens); });
    } catch (const Failure& failure) {
      display.finish();
      if (!editor_.interactive() || options_.once) throw;
      std::fprintf(stderr, "mm2: %s\n", failure.what());
      return failure.exit_code();
    }
    display.finish();
    if (options_.json) print_json(answer_json(last_));
    const bool was_interrupted = last_.generation.stop == Stop::interrupted;
    if (last_.generation.stop == Stop::no_room) {
      std::fprintf(stderr, "[the context is full; /reset begins anew, --kv-tokens enlarges it]\n");
    }
    if (was_interrupted) std::fprintf(stderr, "[interrupted]\n");
    show_status();
    clear_interrupt();
    return was_interrupted ? kInterrupted : kOk;
  }

 private:
  /// Ctrl-C at the prompt gives up the line; only a second one, with nothing in between, ends the
  /// chat: the first may have been meant for an answer that had just ended.
  std::optional<std::string> read_line() {
    bool asked_before = false;
    for (;;) {
      auto line = editor_.read("> ");
      const bool was_interrupted = interrupted();
      clear_interrupt();
      if (line || !was_interrupted || asked_before) return line;
      std::printf("\n[Ctrl-C again, Ctrl-D or /exit ends the chat]\n");
      asked_before = true;
    }
  }

  void show_status() const {
    if (options_.show_stats) {
      std::fprintf(stderr, "%s\n", stats_line(last_, sequence_).c_str());
    } else if (editor_.interactive() && !options_.json) {
      const Dim dim = dim_on(stdout);
      std::printf("%s%s%s\n", dim.begin, status_line(last_, sequence_).c_str(), dim.end);
    }
  }

  /// After tool calls the person may play the tools: one line per call, empty for none.
  ExitCode answer_and_ask_tools() {
    for (;;) {
      const ExitCode result = answer_once();
      if (result != kOk || last_.output.calls.empty() || !editor_.interactive()) return result;
      std::vector<std::string> results;
      for (const ToolCall& call : last_.output.calls) {
        const auto line = editor_.read("result of " + call.name + "> ");
        clear_interrupt();
        if (!line || line->empty()) return result;
        results.push_back(*line);
      }
      for (const std::string& text : results) conversation_.add_tool_result(text);
    }
  }

  /// False: the chat is to end.
  bool run_command(const std::string& line, ExitCode& result) {
    const size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (command == "/exit" || command == "/quit") return false;
    if (command == "/reset") {
      conversation_.reset();
      std::printf("[a new conversation]\n");
    } else if (command == "/system") {
      run_system(rest);
    } else if (command == "/tools") {
      run_tools(rest);
    } else if (command == "/think") {
      if (!rest.empty()) conversation_.set_thinking(rest != "off");
      std::printf("[reasoning is %s]\n", conversation_.thinking() ? "on" : "off");
    } else if (command == "/undo" || command == "/retry") {
      const auto question = conversation_.undo();
      std::printf(question ? "[taken back: %s]\n" : "[nothing to take back]%s\n",
                  question ? question->c_str() : "");
      if (question && command == "/retry") {
        conversation_.change_seed();
        conversation_.add_user(*question);
        result = answer_and_ask_tools();
      }
    } else if (command == "/stats") {
      std::printf("%s\n", stats_line(last_, sequence_).c_str());
    } else {
      if (command != "/help") std::printf("There is no command %s.\n", command.c_str());
      std::printf(
          "/system [TEXT]   show or set the system message; setting begins a new conversation\n"
          "/tools [FILE]    show the tools or read them from a JSON array; /tools none\n"
          "/think [on|off]  reason before answering, or not\n"
          "/retry           another answer to the last question\n"
          "/undo            take back the last question and its answer\n"
          "/reset           a new conversation\n"
          "/stats           tokens and speed of the last answer\n"
          "/exit            end, as Ctrl-D does; Ctrl-C stops an answer\n"
          "A line that ends in a backslash goes on; a pasted text keeps its lines. After a tool "
          "call\n"
          "type what the tool returns; an empty line leaves it without an answer.\n");
    }
    return true;
  }

  void run_system(const std::string& text) {
    if (!text.empty()) {
      conversation_.set_system(text);
      conversation_.reset();
    }
    const std::string& system = conversation_.system();
    std::printf("[system: %s]\n", system.empty() ? "the model's own" : system.c_str());
  }

  void run_tools(const std::string& file) {
    try {
      if (file == "none") {
        conversation_.set_tools(Json());
      } else if (!file.empty()) {
        conversation_.set_tools(read_tools(file));
      }
    } catch (const Failure& failure) {
      std::fprintf(stderr, "mm2: %s\n", failure.what());
      return;
    }
    const Json& tools = conversation_.tools();
    if (!tools.is_array() || tools.empty()) std::printf("[no tools]\n");
    for (const Json& tool : tools) {
      const Json& function = tool.contains("function") ? tool["function"] : tool;
      std::printf("%s\n", to_text(function).c_str());
    }
  }

  const ChatOptions& options_;
  Conversation& conversation_;
  const Sequence& sequence_;
  LineEditor editor_;
  Answer last_;
};

ExitCode run_chat(const ChatOptions& options) {
  const std::string path = find_model(options.model);
  const Json tools = options.tools_file.empty() ? Json() : read_tools(options.tools_file);
  const auto tokenizer = make<Tokenizer>("loading the tokenizer of " + path, mm2_tokenizer_load,
                                         path.c_str(), nullptr);
  const auto chat = make<ChatTemplate>("loading the chat template of " + path,
                                       mm2_chat_template_load, path.c_str(), nullptr);
  const Model model = load_model(path, options.engine);
  mm2_engine_options settings = engine_options(options.engine);
  if (settings.kv_tokens == 0) {
    settings.kv_tokens = std::min(kDefaultKvTokens, model_info(model.get()).max_positions);
  }
  const Engine engine = make_engine(model.get(), settings);
  Sequence sequence(engine.get());

  ChatModel parts{tokenizer.get(), chat.get(), &sequence, stop_ids(model.get())};
  parts.sampling = options.sampling.resolve(model.get(), tokenizer.get());
  parts.max_tokens = options.max_tokens;
  parts.thinking = !options.no_think;
  Conversation conversation(std::move(parts));
  conversation.set_system(options.system);
  conversation.set_tools(tools);

  ChatLoop loop(options, conversation, sequence);
  if (!options.once) return loop.run();
  conversation.add_user(options.prompt);
  if (loop.answer_once() == kOk) return kOk;
  throw Failure(kInterrupted, "answering", "stopped by Ctrl-C");
}

}  // namespace

void add_chat(Program& program) {
  const auto options = std::make_shared<ChatOptions>();
  CLI::App* verb = program.add_verb("chat", "Chat with a model in the terminal",
                                    "mm2 chat examples/models/mm2-tiny -p 'What is 47 + 38?'");
  add_model(verb, options->model);
  CLI::Option* prompt =
      verb->add_option("-p,--prompt", options->prompt, "answer this once and exit");
  prompt->type_name("TEXT");
  verb->add_option("--system", options->system, "system message")->type_name("TEXT");
  verb->add_option("--tools", options->tools_file, "file with a JSON array of tool definitions")
      ->type_name("FILE");
  verb->add_flag("--no-think", options->no_think, "answer without reasoning");
  verb->add_option("--max-tokens", options->max_tokens, "tokens of one answer; 4096 unless said")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--show-stats", options->show_stats, "tokens and speed after every answer");
  verb->add_flag("--show-reasoning", options->show_reasoning,
                 "reasoning on standard output even if that is no terminal");
  verb->add_flag("--json", options->json, "each answer as one JSON object");
  options->sampling.add_to(verb);
  options->engine.add_to(verb);
  program.on_run(verb, [options, prompt] {
    options->once = prompt->count() > 0;
    return run_chat(*options);
  });
}

}  // namespace cli
