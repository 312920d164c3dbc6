// Which sequence computes how many tokens in the next step of the engine. All policy of the server
// is here; everything else is text and sockets.
//
// One thread owns the engine. Before every step it
//   1. frees the sequences of clients that are gone,
//   2. gives free seats to waiting sequences: the owner with the fewest seats first, then the oldest,
//   3. plans: a token for each answer that is being written, then pieces of prompts, shared evenly,
//      so that a long prompt neither stops running answers nor keeps a short one waiting,
//   4. runs the step; when the KV pool is too small for it, a sequence makes room (one whose client
//      does not read, else the youngest) and is computed again later (no answer changes by that: logits do not depend on the batch),
//   5. samples, and passes tokens on through channels that never make it wait.
#pragma once

#include <mm2/mm2.hpp>

#include <array>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include "channel.h"

namespace server {

struct SchedulerOptions {
  int32_t max_model_len = 0;  // tokens of prompt and answer; 0 = what the engine can hold
  int32_t max_waiting = 256;  // sequences in the queue
  bool chunked_prefill = true;
  std::chrono::seconds slow_reader{30};  // a full channel for that long ends its request
};

/// A prompt and how to go on from it.
struct Job {
  std::vector<int32_t> prompt;
  int32_t max_tokens = 0;          // to generate, at least 1
  int32_t n = 1;                   // answers, each with its own random numbers
  int32_t first_choice = 0;        // number of the first of them in the channel
  mm2_sampler_options sampling{};  // without biases
  std::vector<mm2_logit_bias> biases;
  bool logprobs = false;  // of each token, and of sampling.n_logprobs others
  bool ignore_eos = false;
  std::string owner;  // whose seats these are: seats are shared evenly between owners
  uint64_t salt = 0;  // prefixes are shared only between jobs with the same salt
  std::shared_ptr<Channel> channel;
};

/// Why jobs were not taken, as a sentence.
struct Refusal {
  enum class Kind { too_long, full, stopping, broken };
  Kind kind;
  std::string sentence;
};

/// Seconds, counted in buckets as Prometheus wants them.
struct Histogram {
  static constexpr std::array<double, 12> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                     0.1,   0.25,   0.5,   1,    2.5,   10};
  std::array<uint64_t, kBounds.size() + 1> counts{};
  double sum = 0;
  void add(double seconds);
};

/// What has happened since the start, and what is going on.
struct Totals {
  uint64_t jobs = 0, finished = 0, cancelled = 0, failed = 0, refused = 0;
  uint64_t steps = 0, preemptions = 0, slow_readers = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  double step_seconds = 0, busy_seconds = 0;  // inside the engine; in all of the loop but waiting
  int32_t running = 0, waiting = 0, paused = 0, last_batch = 0;
  int64_t kv_blocks = 0, kv_free_blocks = 0;
  Histogram first_token, between_tokens;
};

class Scheduler {
 public:
  using IsStop = std::function<bool(int32_t token)>;

  Scheduler(mm2::Engine& engine, IsStop is_stop, const SchedulerOptions& options);
  ~Scheduler();

  /// All of these jobs, or none and the reason. Any thread.
  std::optional<Refusal> submit(std::vector<Job> jobs);
  /// For Channel: there may be something new to do. Any thread.
  void wake();
  /// Runs `task` on the engine thread between two steps and returns its result. Any thread.
  std::string on_engine_thread(std::function<std::string(mm2::Engine&)> task);
  Totals totals() const;
  int32_t max_model_len() const { return options_.max_model_len; }
  int32_t max_seqs() const { return info_.max_seqs; }

  /// From now on jobs are refused; those that were taken go on.
  void stop_taking();
  bool idle() const;
  /// Why nothing works any more; empty while it does.
  std::string broken() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Sequence {
    std::shared_ptr<const Job> job;
    int32_t choice;
    mm2::Sampler sampler;
    std::vector<int32_t> tokens;  // the prompt, then every token that was picked
    int32_t n_prompt;
    int32_t seq_id = -1;
    int32_t n_computed = 0;  // tokens that the engine holds
    int32_t n_cached = 0;
    bool was_preempted = false;
    Clock::time_point submitted = Clock::now(), last_token{}, paused_since{};
    bool paused = false, finished = false;

    int32_t n_tokens() const { return static_cast<int32_t>(tokens.size()); }
    int32_t missing() const { return n_tokens() - n_computed; }
    int32_t n_generated() const { return n_tokens() - n_prompt; }
  };
  using Owned = std::unique_ptr<Sequence>;
  struct Row {
    Sequence* sequence;
    int32_t n_tokens;
  };

  Owned make_sequence(const std::shared_ptr<const Job>& job, int32_t choice) const;
  std::optional<Refusal> check(const std::vector<Job>& jobs) const;
  std::optional<Refusal> check_room(size_t n_sequences) const;

  void run();
  void run_once(bool& idle);
  bool wait_for_work(bool idle);
  void run_tasks();
  void drop_cancelled();
  void admit();
  size_t next_to_admit() const;
  bool may_start(const Sequence& sequence) const;
  const Sequence* sibling_with_prompt(const Sequence& sequence) const;
  void take_over_prefix(Sequence& sequence);
  int64_t room_left() const;
  void plan();
  void plan_decoding(int32_t& room);
  void plan_prompts(int32_t& room);
  bool is_paused(Sequence& sequence);
  mm2_status compute(mm2_error& error);
  bool step();
  void preempt_one();
  void take_results();
  void take_token(Sequence& sequence, const float* logits);
  void finish(Sequence& sequence, Finish why, const std::string& message = {});
  void fail_all(const std::string& message);
  void remove_finished();
  void release(Sequence& sequence);
  void publish(Clock::duration in_step, Clock::duration in_loop);

  mm2::Engine& engine_;
  const mm2_engine_info info_;
  const IsStop is_stop_;
  SchedulerOptions options_;

  // Of the engine thread alone.
  std::vector<Owned> running_;  // oldest first
  std::vector<int32_t> free_seq_ids_;
  std::vector<Row> rows_;
  std::vector<Sequence*> prompts_;
  std::vector<mm2_seq_rows> seqs_;
  std::vector<int32_t> tokens_;
  std::vector<mm2_status> row_status_;
  std::vector<float> logits_;  // [max_seqs, n_vocab]
  std::vector<mm2_token_logprob> top_;
  Totals now_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool woken_ = false, stopping_ = false, taking_ = true;
  std::deque<Owned> waiting_;
  std::vector<std::packaged_task<std::string(mm2::Engine&)>> tasks_;
  std::string broken_;
  Totals published_;
  uint64_t refused_ = 0, jobs_ = 0;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace server
