// mm2 score: how well the model predicts a text.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "json_io.h"
#include "model_path.h"
#include "program.h"
#include "session.h"

namespace cli {
namespace {

constexpr int32_t kDefaultWindow = 2048;
constexpr int32_t kRowsPerStep = 256;  // bounds the memory that logits take

struct ScoreOptions {
  std::string model, text_file;
  int32_t window = 0, stride = 0;
  bool json = false;
  EngineFlags engine;
};

/// -ln p(token) from a row of logits [n_vocab].
double negative_log_likelihood(std::span<const float> row, int32_t token) {
  const double top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float logit : row) sum += std::exp(logit - top);
  return std::log(sum) + top - row[token];
}

/// Sum of -ln p over positions [first_scored, end) of ids[begin, end), each from the tokens between
/// begin and itself.
double score_window(Sequence& sequence, const TokenIds& ids, size_t begin, size_t end,
                    size_t first_scored) {
  sequence.clear();
  const auto n_vocab = static_cast<size_t>(sequence.info().n_vocab);
  const auto max_step = static_cast<size_t>(sequence.info().max_tokens_per_step);
  double sum = 0;
  // The row at position p judges token p + 1; the last token of the window is only judged.
  for (size_t at = begin; at + 1 < end;) {
    const size_t stop = std::min(at + max_step, end - 1);
    const size_t first_row = std::max(at, first_scored - 1);
    const size_t n_rows = stop > first_row ? stop - first_row : 0;
    const auto logits = sequence.step({ids.data() + at, stop - at}, static_cast<int32_t>(n_rows));
    for (size_t r = 0; r < n_rows; ++r) {
      sum += negative_log_likelihood(logits.subspan(r * n_vocab, n_vocab), ids[first_row + r + 1]);
    }
    at = stop;
  }
  return sum;
}

ExitCode run_score(const ScoreOptions& options) {
  const std::string path = find_model(options.model);
  const auto tokenizer = make<Tokenizer>("loading the tokenizer of " + path, mm2_tokenizer_load,
                                         path.c_str(), nullptr);
  const TokenIds ids = encode(tokenizer.get(), read_file(options.text_file), 0);
  if (ids.size() < 2) {
    throw Failure(kInvalidInput, "reading " + options.text_file,
                  "it has " + std::to_string(ids.size()) + " tokens; at least 2 are needed");
  }
  const Model model = load_model(path, options.engine);
  const int64_t max_positions = model_info(model.get()).max_positions;
  const auto window = static_cast<size_t>(
      options.window > 0 ? options.window : std::min<int64_t>(kDefaultWindow, max_positions));
  const size_t stride = options.stride > 0 ? options.stride : window / 2;
  if (window < 2 || stride < 1 || stride >= window) {
    throw Failure(kUsage, "reading the options",
                  "--window " + std::to_string(window) + " and --stride " + std::to_string(stride) +
                      ": the window needs at least 2 tokens and a stride of 1 to window - 1");
  }
  mm2_engine_options settings = engine_options(options.engine);
  if (settings.kv_tokens == 0) settings.kv_tokens = std::min(window, ids.size());
  if (settings.max_tokens_per_step == 0) settings.max_tokens_per_step = kRowsPerStep;
  settings.max_outputs_per_step = settings.max_tokens_per_step;
  const Engine engine = make_engine(model.get(), settings);
  Sequence sequence(engine.get());

  double sum = 0;
  size_t scored_to = 1;  // the first token has nothing before it
  for (size_t begin = 0; scored_to < ids.size(); begin += stride) {
    const size_t end = std::min(begin + window, ids.size());
    sequence.require_room(end - begin, "scoring " + options.text_file);
    sum += score_window(sequence, ids, begin, end, scored_to);
    scored_to = end;
  }
  const size_t n_scored = ids.size() - 1;
  const double mean = sum / static_cast<double>(n_scored);
  if (options.json) {
    print_json({{"tokens", ids.size()},
                {"scored", n_scored},
                {"mean_nll", mean},
                {"perplexity", std::exp(mean)},
                {"window", window},
                {"stride", stride}});
  } else {
    std::printf("tokens                        %zu\n", ids.size());
    std::printf("mean negative log likelihood  %.6f\n", mean);
    std::printf("perplexity                    %.4f\n", std::exp(mean));
  }
  return kOk;
}

}  // namespace

void add_score(Program& program) {
  const auto options = std::make_shared<ScoreOptions>();
  CLI::App* verb = program.add_verb(
      "score", "Token count, mean negative log likelihood and perplexity of a text",
      "mm2 score examples/models/mm2-tiny --text-file README.md");
  add_model(verb, options->model);
  verb->add_option("--text-file", options->text_file, "the text")->required()->type_name("FILE");
  verb->add_option("--window", options->window, "tokens seen at once; 2048 unless said")
      ->check(CLI::PositiveNumber);
  verb->add_option("--stride", options->stride, "tokens from window to window; half of it")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--json", options->json, "one JSON object");
  options->engine.add_to(verb);
  program.on_run(verb, [options] { return run_score(*options); });
}

}  // namespace cli
