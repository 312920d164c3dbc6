// Which sequence computes how many tokens in the next step of the engine. All policy of the server
// is here; everything else is text and sockets.
//
// One thread owns the engine. Before every step it
//   1. frees the sequences of clients that are gone,
//   2. gives free seats to waiting sequences: the owner with the fewest seats first, then the oldest,
//   3. plans: a token for each answer that is being written, then pieces of prompts, shared evenly,
//      so that a long prompt neither stops running answers nor keeps a short one waiting,
//   4. runs the step; when the KV pool is too small for it, a sequence makes room (one whose client
//      does not read, else the youngest) and is computed again later (no answer changes by that: logits
//      do not depend on the batch),
//   5. samples, and passes tokens on through channels that never make it wait.
// 1 to 4 are scheduler.cpp, 5 is scheduler_results.cpp; scheduler_thread.cpp is the thread itself, and the
// queue that requests come through.
#pragma once

#include <deque>
#include <future>
#include <optional>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "sequence.h"
#include "totals.h"

namespace server {

struct SchedulerOptions {
  int32_t max_model_len = 0;  // tokens of prompt and answer; 0 = what the engine can hold
  int32_t max_waiting = 256;  // sequences in the queue
  bool chunked_prefill = true;
  std::chrono::seconds slow_reader{30};  // a full channel for that long ends its request
};

/// Why jobs were not taken, as a sentence.
struct Refusal {
  enum class Kind { too_long, full, stopping, broken };
  Kind kind;
  std::string sentence;
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
  using Clock = Sequence::Clock;
  using Owned = std::unique_ptr<Sequence>;
  using Seats = std::unordered_map<std::string_view, int32_t>;  // how many each owner holds
  struct Row {
    Sequence* sequence;
    int32_t n_tokens;
  };

  // scheduler.cpp
  bool take_turn();
  void drop_unwanted();
  void admit();
  size_t next_to_admit(const Seats& seats) const;
  bool may_start(const Sequence& sequence) const;
  void take_over_prefix(Sequence& sequence);
  int64_t room_left() const;
  void plan();
  void plan_decoding(int32_t& room);
  bool is_paused(Sequence& sequence);
  void plan_prompts(int32_t& room);
  bool step();
  mm2_status compute(mm2_error& error);
  void preempt_one();

  // scheduler_results.cpp
  void take_results();
  void take_token(Sequence& sequence, const float* logits);
  void finish(Sequence& sequence, Finish why, const std::string& message = {});
  void remove_finished();
  void release(Sequence& sequence);

  // scheduler_thread.cpp
  void run();
  bool wait_for_work(bool idle);
  void run_tasks();
  void publish(Clock::duration in_step, Clock::duration in_loop);
  void break_down(const char* what) noexcept;
  void fail_all(const std::string& message) noexcept;
  std::optional<Refusal> check_length(const std::vector<Job>& jobs) const;
  std::optional<Refusal> check_room(size_t n_sequences) const;
  Owned make_sequence(const std::shared_ptr<const Job>& job, int32_t choice) const;

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
