// Eight conversations through one engine: the host schedules, mm2 computes.
//
//   batch_scheduler examples/models/mm2-tiny [KV_TOKENS]
//
// With few tokens in the KV pool (256, say) conversations have to make room for others and are
// computed again later; the answers are the same.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "scheduler.h"

namespace {

constexpr int32_t kMaxSeqs = 4;            // fewer than conversations: some join when others end
constexpr int32_t kMaxTokensPerStep = 64;  // long prompts go through in pieces
constexpr int64_t kKvTokens = 1024;
constexpr int32_t kMaxAnswer = 160;

const char* const kQuestions[] = {
    "What is 47 + 38?",
    "What is the capital of Japan?",
    "Tell me a short story about a fox named Lila.",
    "Who are you?",
    "What is mm2?",
    "How do you spell garden?",
    "What is 90 - 17?",
    "What is the opposite of hot?",
};

/// The question as a request to the chat template. The questions above need no JSON escapes.
std::string request_of(const std::string& question) {
  return R"({"messages": [{"role": "user", "content": ")" + question +
         R"("}], "add_generation_prompt": true})";
}

/// What the model says to the user, without its reasoning.
std::string content_of(const std::string& output) {
  auto options = mm2::make<mm2_parser_options>();
  options.starts_in_think = 1;
  mm2::Parser parser(options);
  parser.push(output);
  parser.finish();
  std::string content;
  while (const auto event = parser.next()) {
    if (event->kind == MM2_EVENT_TEXT) content.append(event->data, event->length);
  }
  content.erase(0, content.find_first_not_of('\n'));
  return content;
}

void run(const std::string& path, int64_t kv_tokens) {
  const auto model = mm2::Model::load(path);
  const auto tokenizer = mm2::Tokenizer::load(path);
  const auto chat = mm2::ChatTemplate::load(path);
  auto options = mm2::make<mm2_engine_options>();
  options.max_seqs = kMaxSeqs;
  options.max_tokens_per_step = kMaxTokensPerStep;
  options.max_outputs_per_step = kMaxSeqs;
  options.kv_tokens = kv_tokens;
  auto engine = model.create_engine(&options);

  const auto print = [&tokenizer](const Job& job) {
    const std::vector<int32_t> answer(job.tokens.begin() + job.n_prompt, job.tokens.end());
    std::printf("%s\n  %s\n", job.question.c_str(), content_of(tokenizer.decode(answer)).c_str());
  };
  Scheduler scheduler(
      engine, [&tokenizer](int32_t token) { return tokenizer.is_stop(token); }, print);

  auto sampling = mm2::make<mm2_sampler_options>();  // greedy
  sampling.n_tokens = tokenizer.n_tokens();
  for (const char* question : kQuestions) {
    auto prompt = chat.render(tokenizer, request_of(question)).ids;
    const auto n_prompt = static_cast<int32_t>(prompt.size());
    scheduler.submit({question, std::move(prompt), n_prompt, kMaxAnswer,
                      mm2::Sampler(sampling, model.info().n_vocab)});
  }
  const auto begin = std::chrono::steady_clock::now();
  while (scheduler.step()) {
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;

  const Scheduler::Totals& totals = scheduler.totals();
  std::printf(
      "\n%lld prompt tokens computed, %lld taken from the prefix cache, and %lld generated tokens "
      "in %lld steps, up to %d conversations at "
      "once,"
      " %lld preempted\n%.0f generated tokens per second\n",
      static_cast<long long>(totals.prompt_tokens), static_cast<long long>(totals.reused_tokens),
      static_cast<long long>(totals.generated_tokens), static_cast<long long>(totals.steps),
      totals.most_at_once, static_cast<long long>(totals.preemptions),
      static_cast<double>(totals.generated_tokens) / seconds.count());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? argv[1] : "examples/models/mm2-tiny",
        argc > 2 ? std::atoll(argv[2]) : kKvTokens);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "batch_scheduler: %s\n", error.what());
    return 1;
  }
}
