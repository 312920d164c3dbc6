// Continuous batching in the smallest form that is still whole: the part of a server that decides
// what the engine computes next. Copy it and change the policy.
#pragma once

#include <mm2/mm2.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

/// One conversation on its way through the engine.
struct Job {
  std::string question;
  std::vector<int32_t> tokens;  // the prompt, then every token that was picked
  int32_t n_prompt = 0;
  int32_t max_tokens = 0;  // to generate
  mm2::Sampler sampler;

  // Kept by the scheduler:
  int32_t seq_id = -1;
  int32_t n_computed = 0;  // tokens that the engine holds
  int32_t n_preempted = 0;

  int32_t n_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t n_generated() const { return n_tokens() - n_prompt; }
};

/// Runs any number of jobs on one engine. Every step first gives each answer that is being written
/// its next token, then fills what is left of the step with pieces of prompts, oldest first. So new
/// jobs join at any step, long prompts never hold up running answers for long, and the order of
/// service changes no answer: mm2's logits do not depend on what else is in the batch.
class Scheduler {
 public:
  using IsStop = std::function<bool(int32_t token)>;
  using OnFinished = std::function<void(const Job&)>;

  Scheduler(mm2::Engine& engine, IsStop is_stop, OnFinished on_finished);

  void submit(Job job);
  /// One engine step; false when there is nothing left to do.
  bool step();

  struct Totals {
    int64_t steps = 0, prompt_tokens = 0, reused_tokens = 0, generated_tokens = 0, preemptions = 0;
    int32_t most_at_once = 0;
  };
  const Totals& totals() const { return totals_; }

 private:
  struct Row {
    Job* job;
    int32_t n_tokens;
  };

  int64_t room_left() const;
  void admit();
  std::vector<Row> plan() const;
  bool compute(const std::vector<Row>& rows);
  void preempt_youngest();
  void take_results(const std::vector<Row>& rows);
  void release(Job& job);

  mm2::Engine& engine_;
  mm2_engine_info info_;
  IsStop is_stop_;
  OnFinished on_finished_;
  std::deque<std::unique_ptr<Job>> waiting_;
  std::vector<std::unique_ptr<Job>> running_;  // oldest first
  std::vector<int32_t> free_seq_ids_;
  std::vector<float> logits_;  // [rows with an output, n_vocab]
  Totals totals_;
};
