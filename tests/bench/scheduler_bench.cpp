// What the server's scheduler costs: tokens per second of B answers through it, against a bare loop
// over the same engine that steps and samples the same B sequences. The two take turns.
//
//   scheduler_bench MODEL [ROUNDS] [TOKENS] [BATCH]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "../../examples/openai_server/scheduler.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Setting {
  int32_t batch, n_prompt, n_tokens;
  mm2_sampler_options sampling;
};

std::vector<int32_t> prompt_of(const Setting& setting, int32_t i) {
  std::vector<int32_t> prompt;
  for (int32_t t = 0; t < setting.n_prompt; ++t) prompt.push_back((i * 31 + t * 7) % 1500);
  return prompt;
}

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Prompts one after the other, then decoding; the time of all of it.
double bare_loop(mm2::Engine& engine, const Setting& setting) {
  const auto begin = Clock::now();
  std::vector<float> logits;
  std::vector<int32_t> next(static_cast<size_t>(setting.batch));
  std::vector<mm2::Sampler> samplers;
  const auto take = [&](int32_t i, const float* row) {
    auto& sampler = samplers[static_cast<size_t>(i)];
    next[static_cast<size_t>(i)] = sampler.sample(row);
    sampler.accept(next[static_cast<size_t>(i)]);
  };
  for (int32_t i = 0; i < setting.batch; ++i) {
    auto sampling = setting.sampling;
    sampling.seed = static_cast<uint64_t>(i);
    samplers.emplace_back(sampling, engine.info().n_vocab);
    engine.step({{i, 0, setting.n_prompt, 1}}, prompt_of(setting, i), logits);
    take(i, logits.data());
  }
  std::vector<mm2_seq_rows> rows(static_cast<size_t>(setting.batch));
  for (int32_t n = 1; n < setting.n_tokens; ++n) {
    for (int32_t i = 0; i < setting.batch; ++i) {
      rows[static_cast<size_t>(i)] = {i, setting.n_prompt + n - 1, 1, 1};
    }
    engine.step(rows, next, logits);
    for (int32_t i = 0; i < setting.batch; ++i) take(i, logits.data() + i * engine.info().n_vocab);
  }
  const double seconds = seconds_since(begin);
  for (int32_t i = 0; i < setting.batch; ++i) engine.free(i);
  return seconds;
}

/// The same through the scheduler, with a thread that reads each answer as often as a connection of
/// the server does. The time of the engine thread with work, which the readers take from as well.
double scheduled(mm2::Engine& engine, const Setting& setting) {
  server::Scheduler scheduler(engine, [](int32_t) { return false; }, {});
  std::vector<std::thread> readers;
  for (int32_t i = 0; i < setting.batch; ++i) {
    server::Job job;
    job.prompt = prompt_of(setting, i);
    job.max_tokens = setting.n_tokens;
    job.sampling = setting.sampling;
    job.sampling.seed = static_cast<uint64_t>(i);
    job.channel = std::make_shared<server::Channel>(1024, 1, [&scheduler] { scheduler.wake(); });
    readers.emplace_back([channel = job.channel, batch = setting.batch] {
      std::vector<server::TokenEvent> events;
      while (channel->take(events) && events.back().finish == server::Finish::none) {
        std::this_thread::sleep_for(std::chrono::microseconds(250) * std::max(16, batch));
      }
    });
    std::vector<server::Job> jobs;
    jobs.push_back(std::move(job));
    if (const auto refusal = scheduler.submit(std::move(jobs)))
      std::puts(refusal->sentence.c_str());
  }
  for (std::thread& reader : readers) reader.join();
  while (scheduler.totals().running > 0) std::this_thread::yield();
  return scheduler.totals().busy_seconds;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void run(const char* path, int rounds, int32_t n_tokens, int32_t only_batch) {
  const auto model = mm2::Model::load(path);
  std::printf("batch  sampling   bare tok/s  scheduler tok/s  share\n");
  for (const int32_t batch : {1, 8, 32, 64}) {
    if (only_batch != 0 && batch != only_batch) continue;
    auto options = mm2::make<mm2_engine_options>();
    options.max_seqs = batch;
    options.max_outputs_per_step = batch;
    options.kv_tokens = batch * 512;
    options.prefix_cache = MM2_NO;
    auto engine = model.create_engine(&options);
    for (const bool greedy : {true, false}) {
      Setting setting{batch, 32, n_tokens, mm2::make<mm2_sampler_options>()};
      if (!greedy) setting.sampling = model.sampler_options();
      std::vector<double> bare, through;
      for (int round = 0; round < rounds; ++round) {
        bare.push_back(bare_loop(engine, setting));
        through.push_back(scheduled(engine, setting));
      }
      const double n = static_cast<double>(batch) * n_tokens;
      std::printf("%5d  %-9s  %10.0f  %15.0f  %5.1f %%\n", batch, greedy ? "greedy" : "model's",
                  n / median(bare), n / median(through), 100 * median(bare) / median(through));
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? argv[1] : "examples/models/mm2-tiny", argc > 2 ? std::atoi(argv[2]) : 5,
        argc > 3 ? std::atoi(argv[3]) : 400, argc > 4 ? std::atoi(argv[4]) : 0);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "scheduler_bench: %s\n", error.what());
    return 1;
  }
}
