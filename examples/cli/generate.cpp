// mm2 generate: the model goes on with a text or with ids; no chat template.
#include <algorithm>
#include <cstdio>

#include "generation.h"
#include "interrupt.h"
#include "json_io.h"
#include "model_path.h"
#include "program.h"

namespace cli {
namespace {

constexpr int32_t kDefaultMaxTokens = 128;

struct GenerateOptions {
  std::string model, prompt, prompt_file, ids;
  int32_t max_tokens = kDefaultMaxTokens;
  bool print_ids = false, json = false, ignore_stop = false;
  SamplingFlags sampling;
  EngineFlags engine;
};

/// The tokenizer, or null for a checkpoint that has none while only ids are asked for.
Tokenizer load_tokenizer(const std::string& path, bool needed) {
  try {
    return make<Tokenizer>("loading the tokenizer of " + path, mm2_tokenizer_load, path.c_str(),
                           nullptr);
  } catch (const Failure& failure) {
    if (needed || failure.status() != MM2_E_NOT_FOUND) throw;
    return nullptr;
  }
}

TokenIds read_prompt(const GenerateOptions& options, const mm2_tokenizer* tokenizer) {
  if (!options.ids.empty()) return parse_ids(options.ids);
  const std::string text =
      options.prompt_file.empty() ? options.prompt : read_file(options.prompt_file);
  return encode(tokenizer, text, MM2_PARSE_SPECIAL);
}

/// Text of the answer while it grows: whole characters only.
class TextStream {
 public:
  explicit TextStream(const mm2_tokenizer* tokenizer) {
    if (tokenizer == nullptr) return;
    stream_ = make<Detokenizer>("starting a stream", mm2_detokenizer_create, tokenizer, 0u);
  }
  std::string push(int32_t id) {
    if (stream_ == nullptr) return "";
    call("detokenizing", mm2_detokenizer_push, stream_.get(), id, piece_.get());
    return std::string(piece_.text());
  }
  std::string flush() {
    if (stream_ == nullptr) return "";
    call("detokenizing", mm2_detokenizer_flush, stream_.get(), piece_.get());
    return std::string(piece_.text());
  }

 private:
  Detokenizer stream_;
  Buffer piece_;
};

void print_ids(const TokenIds& ids) {
  for (size_t i = 0; i < ids.size(); ++i) std::printf("%s%d", i == 0 ? "" : ",", ids[i]);
  std::printf("\n");
}

double rate(size_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
}

ExitCode run_generate(const GenerateOptions& options) {
  const std::string path = find_model(options.model);
  const Tokenizer tokenizer = load_tokenizer(path, options.ids.empty());
  GenerationRequest request;
  request.prompt = read_prompt(options, tokenizer.get());
  request.max_tokens = options.max_tokens;

  const Model model = load_model(path, options.engine);
  request.sampling = options.sampling.resolve(model.get(), tokenizer.get());
  if (!options.ignore_stop) {
    request.tokenizer = tokenizer.get();
    request.stop_ids = stop_ids(model.get());
  }
  mm2_engine_options settings = engine_options(options.engine);
  if (settings.kv_tokens == 0) {
    const int64_t wanted = static_cast<int64_t>(request.prompt.size()) + options.max_tokens;
    settings.kv_tokens = std::min(wanted, model_info(model.get()).max_positions);
  }
  const Engine engine = make_engine(model.get(), settings);
  Sequence sequence(engine.get());

  TextStream stream(tokenizer.get());
  std::string text;
  const bool streams_text = !options.json && !options.print_ids;
  const auto show = [&](const std::string& piece) {
    text += piece;
    if (!streams_text || piece.empty()) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const GenerationResult result =
      generate(sequence, request, [&](int32_t id) { show(stream.push(id)); });
  show(stream.flush());

  if (options.json) {
    Json object = {{"prompt_tokens", request.prompt.size()}, {"ids", result.ids}};
    if (tokenizer != nullptr) object["text"] = text;
    object["finish_reason"] = stop_name(result.stop);
    object["prefill_tok_per_s"] = rate(request.prompt.size(), result.prefill_seconds);
    object["decode_tok_per_s"] = rate(result.n_decode_steps, result.decode_seconds);
    print_json(object);
  } else if (options.print_ids) {
    print_ids(result.ids);
  } else if (tokenizer == nullptr) {
    print_ids(result.ids);
  } else if (text.empty() || text.back() != '\n') {
    std::printf("\n");
  }
  if (result.stop != Stop::interrupted) return kOk;
  throw Failure(kInterrupted, "generating",
                "stopped by Ctrl-C after " + std::to_string(result.ids.size()) + " tokens");
}

}  // namespace

void add_generate(Program& program) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* verb = program.add_verb(
      "generate", "Raw completion of a text or of token ids",
      "mm2 generate examples/models/mm2-tiny --prompt 'The capital of Japan is' --greedy");
  add_model(verb, options->model);
  CLI::Option_group* prompt = verb->add_option_group("Prompt", "exactly one of them");
  prompt->add_option("--prompt", options->prompt, "the text")->type_name("TEXT");
  prompt->add_option("--prompt-file", options->prompt_file, "file with the text")
      ->type_name("FILE");
  prompt->add_option("--ids", options->ids, "token ids: 1,2,3")->type_name("IDS");
  prompt->require_option(1);
  verb->add_option("--max-tokens", options->max_tokens, "tokens to generate; 128 unless said")
      ->check(CLI::NonNegativeNumber);
  verb->add_flag("--print-ids", options->print_ids, "ids instead of text");
  verb->add_flag("--ignore-stop", options->ignore_stop, "go on after the end of the turn");
  verb->add_flag("--json", options->json, "one JSON object");
  options->sampling.add_to(verb);
  options->engine.add_to(verb);
  program.on_run(verb, [options] { return run_generate(*options); });
}

}  // namespace cli
