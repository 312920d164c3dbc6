// Around the policy: the engine thread with its loop, and what other threads see of the scheduler: what
// is let in, what is told.
#include <algorithm>

#include "scheduler.h"

namespace server {
namespace {

/// Answers to the same prompt need different random numbers, and always the same ones.
uint64_t seed_of_choice(uint64_t seed, int32_t choice) {
  return seed + static_cast<uint64_t>(choice) * 0x9E3779B97F4A7C15ULL;
}

}  // namespace

Scheduler::Scheduler(mm2::Engine& engine, IsStop is_stop, const SchedulerOptions& options)
    : engine_(engine), info_(engine.info()), is_stop_(std::move(is_stop)), options_(options) {
  const int64_t most = std::min(info_.kv_tokens, info_.max_positions);
  if (options_.max_model_len == 0) options_.max_model_len = static_cast<int32_t>(most);
  if (options_.max_model_len > most) {
    throw std::runtime_error("a model length of " + std::to_string(options_.max_model_len) +
                             " tokens; the engine holds " + std::to_string(most));
  }
  // Every seat must be able to get its token in every step.
  if (info_.max_tokens_per_step < info_.max_seqs) {
    throw std::runtime_error(std::to_string(info_.max_tokens_per_step) +
                             " tokens per step; at least one for each of the " +
                             std::to_string(info_.max_seqs) + " sequences is needed");
  }
  if (!options_.chunked_prefill && info_.max_tokens_per_step < options_.max_model_len) {
    throw std::runtime_error("without chunked prefill a step must take a whole prompt: " +
                             std::to_string(info_.max_tokens_per_step) +
                             " tokens per step, but prompts of up to " +
                             std::to_string(options_.max_model_len));
  }
  for (int32_t id = info_.max_seqs - 1; id >= 0; --id) free_seq_ids_.push_back(id);
  logits_.resize(static_cast<size_t>(info_.max_seqs) * static_cast<size_t>(info_.n_vocab));
  publish({}, {});
  thread_ = std::thread([this] { run(); });
}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    taking_ = false;
  }
  wake();
  thread_.join();
}

// ---- the engine thread

void Scheduler::run() {
  bool idle = true;
  while (wait_for_work(idle)) {
    try {
      idle = !take_turn();
    } catch (const std::exception& error) {  // memory, or a call that cannot fail did
      break_down(error.what());
      idle = true;
    }
  }
  fail_all("the server is shutting down");
  run_tasks();
}

// Sleeps while there is nothing to compute. False when it is time to end.
bool Scheduler::wait_for_work(bool idle) {
  std::unique_lock lock(mutex_);
  // Paused sequences are looked at again even when nobody calls: their patience may be over.
  if (idle) {
    const auto patience = running_.empty() ? std::chrono::hours(24) : std::chrono::seconds(1);
    wake_.wait_for(lock, patience, [this] { return woken_ || stopping_; });
  }
  woken_ = false;
  return !stopping_;
}

void Scheduler::run_tasks() {
  std::vector<std::packaged_task<std::string(mm2::Engine&)>> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) task(engine_);
}

void Scheduler::publish(Clock::duration in_step, Clock::duration in_loop) {
  if (in_step.count() > 0) ++now_.steps;
  now_.step_seconds += std::chrono::duration<double>(in_step).count();
  now_.busy_seconds += std::chrono::duration<double>(in_loop).count();
  now_.running = static_cast<int32_t>(running_.size());
  if (rows_.empty()) now_.last_batch = 0;
  mm2_kv_pool(engine_.get(), &now_.kv_free_blocks, &now_.kv_blocks, nullptr, nullptr);
  const std::lock_guard lock(mutex_);
  published_ = now_;
}

void Scheduler::break_down(const char* what) noexcept {
  std::string message = "no memory left";  // so short that it needs none
  try {
    message = std::string("the engine thread failed: ") + what;
  } catch (const std::exception&) {
  }
  fail_all(message);
  const std::lock_guard lock(mutex_);
  broken_ = std::move(message);
}

// Tells all readers. Where even that needs memory that is not there, it ends their requests.
void Scheduler::fail_all(const std::string& message) noexcept {
  const auto fail = [&](Sequence& sequence) {
    try {
      finish(sequence, Finish::failed, message);
    } catch (const std::exception&) {
      sequence.finished = true;
      sequence.job->channel->cancel();
    }
  };
  for (;;) {
    Owned waiting;
    {
      const std::lock_guard lock(mutex_);  // not while a reader is told: cancelling takes it too
      if (waiting_.empty()) break;
      waiting = std::move(waiting_.front());
      waiting_.pop_front();
    }
    fail(*waiting);
    release(*waiting);
  }
  rows_.clear();
  for (const Owned& sequence : running_) fail(*sequence);
  remove_finished();
}

// ---- any thread

std::optional<Refusal> Scheduler::check_length(const std::vector<Job>& jobs) const {
  for (const Job& job : jobs) {
    const int64_t n_prompt = static_cast<int64_t>(job.prompt.size());
    if (n_prompt + job.max_tokens <= options_.max_model_len) continue;
    return Refusal{Refusal::Kind::too_long,
                   "the prompt has " + std::to_string(n_prompt) + " tokens and max_tokens is " +
                       std::to_string(job.max_tokens) + ": together " +
                       std::to_string(n_prompt + job.max_tokens) + ", but the context holds " +
                       std::to_string(options_.max_model_len)};
  }
  return std::nullopt;
}

Scheduler::Owned Scheduler::make_sequence(const std::shared_ptr<const Job>& job,
                                          int32_t choice) const {
  mm2_sampler_options sampling = job->sampling;
  sampling.biases = job->biases.data();
  sampling.n_biases = static_cast<int32_t>(job->biases.size());
  sampling.seed = seed_of_choice(sampling.seed, choice);
  mm2::Sampler sampler(sampling, info_.n_vocab);
  sampler.accept_prompt(job->prompt);
  auto sequence = std::make_unique<Sequence>(
      Sequence{job, job->first_choice + choice, std::move(sampler), job->prompt, 0});
  sequence->n_prompt = sequence->n_tokens();
  return sequence;
}

// With the lock held.
std::optional<Refusal> Scheduler::check_room(size_t n_sequences) const {
  if (!broken_.empty()) return Refusal{Refusal::Kind::broken, broken_};
  if (!taking_) return Refusal{Refusal::Kind::stopping, "the server is shutting down"};
  if (waiting_.size() + n_sequences <= static_cast<size_t>(options_.max_waiting)) {
    return std::nullopt;
  }
  return Refusal{Refusal::Kind::full,
                 std::to_string(waiting_.size()) + " answers are waiting already and " +
                     std::to_string(n_sequences) + " more were asked for; at most " +
                     std::to_string(options_.max_waiting) + " may wait"};
}

std::optional<Refusal> Scheduler::submit(std::vector<Job> jobs) {
  size_t n_sequences = 0;
  for (const Job& job : jobs) n_sequences += static_cast<size_t>(job.n);
  std::optional<Refusal> refusal = check_length(jobs);
  std::vector<Owned> sequences;
  if (!refusal) {
    // Asked before thousands of samplers are made, and again when they are.
    const std::lock_guard lock(mutex_);
    refusal = check_room(n_sequences);
  }
  if (!refusal) {
    for (Job& job : jobs) {
      const auto shared = std::make_shared<const Job>(std::move(job));
      for (int32_t i = 0; i < shared->n; ++i) sequences.push_back(make_sequence(shared, i));
    }
  }
  {
    const std::lock_guard lock(mutex_);
    if (!refusal) refusal = check_room(sequences.size());
    if (refusal) {
      ++refused_;
      return refusal;
    }
    for (Owned& sequence : sequences) waiting_.push_back(std::move(sequence));
    jobs_ += jobs.size();
  }
  wake();
  return std::nullopt;
}

void Scheduler::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  wake_.notify_one();
}

std::string Scheduler::on_engine_thread(std::function<std::string(mm2::Engine&)> task) {
  std::packaged_task<std::string(mm2::Engine&)> packaged(std::move(task));
  auto result = packaged.get_future();
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(packaged));
  }
  wake();
  return result.get();
}

Totals Scheduler::totals() const {
  const std::lock_guard lock(mutex_);
  Totals totals = published_;
  totals.waiting = static_cast<int32_t>(waiting_.size());
  totals.refused = refused_;
  totals.jobs = jobs_;
  return totals;
}

void Scheduler::stop_taking() {
  const std::lock_guard lock(mutex_);
  taking_ = false;
}

bool Scheduler::idle() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() && published_.running == 0;
}

std::string Scheduler::broken() const {
  const std::lock_guard lock(mutex_);
  return broken_;
}

}  // namespace server
