#include "scheduler.h"

#include <algorithm>

namespace server {
namespace {

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void Scheduler::run() {
  bool idle = true;
  while (wait_for_work(idle)) {
    try {
      run_once(idle);
    } catch (const std::exception& error) {  // memory, or a call that cannot fail did
      const std::string message = std::string("the engine thread failed: ") + error.what();
      fail_all(message);
      const std::lock_guard lock(mutex_);
      broken_ = message;
      idle = true;
    }
  }
  fail_all("the server is shutting down");
  run_tasks();
}

void Scheduler::run_once(bool& idle) {
  const auto begin = Clock::now();
  run_tasks();
  drop_cancelled();
  admit();
  plan();
  remove_finished();  // clients whose time was up
  idle = rows_.empty();
  const auto before_step = Clock::now();
  const bool stepped = !idle && step();
  const auto after_step = Clock::now();
  if (stepped) take_results();
  remove_finished();
  if (stepped) {
    publish(after_step - before_step, Clock::now() - begin);
  } else {
    publish({}, {});
  }
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

void Scheduler::drop_cancelled() {
  const auto gone = [this](const Owned& sequence) {
    if (!sequence->job->channel->unwanted(sequence->choice)) return false;
    release(*sequence);
    // One choice alone is unwanted when its reader found a stop string: that is an end.
    ++(sequence->job->channel->cancelled() ? now_.cancelled : now_.finished);
    return true;
  };
  std::erase_if(running_, gone);
  const std::lock_guard lock(mutex_);
  std::erase_if(waiting_, gone);
}

// Seats go to the owner who has the fewest of them; among equals the oldest comes first.
size_t Scheduler::next_to_admit() const {
  size_t best = waiting_.size();
  int64_t best_seats = INT64_MAX;
  const std::string* checked = nullptr;  // one owner's many sequences are next to each other
  for (size_t i = 0; i < waiting_.size() && best_seats > 0; ++i) {
    const Sequence& sequence = *waiting_[i];
    if (!may_start(sequence)) continue;
    if (sequence.was_preempted) return i;  // it has waited already
    if (checked != nullptr && *checked == sequence.job->owner) continue;
    checked = &sequence.job->owner;
    const auto seats = std::count_if(running_.begin(), running_.end(), [&](const Owned& running) {
      return running->job->owner == *checked;
    });
    if (seats < best_seats) {
      best = i;
      best_seats = seats;
    }
  }
  return best;
}

// Other answers to a prompt that is being computed wait for it instead of computing it too.
bool Scheduler::may_start(const Sequence& sequence) const {
  if (sequence.job->channel->full()) return false;
  return std::none_of(running_.begin(), running_.end(), [&](const Owned& running) {
    return running->job == sequence.job && running->n_computed < sequence.n_prompt;
  });
}

const Scheduler::Sequence* Scheduler::sibling_with_prompt(const Sequence& sequence) const {
  for (const Owned& running : running_) {
    if (running->job == sequence.job && running->n_computed >= sequence.n_prompt) {
      return running.get();
    }
  }
  return nullptr;
}

// What is computed already need not be computed again. The last token must be: its logits are wanted.
void Scheduler::take_over_prefix(Sequence& sequence) {
  if (const Sequence* sibling = sibling_with_prompt(sequence); sibling && sequence.n_prompt > 1) {
    engine_.fork(sibling->seq_id, sequence.seq_id, sequence.n_prompt - 1);
    sequence.n_computed = sequence.n_prompt - 1;
  } else {
    sequence.n_computed =
        engine_.match_prefix(sequence.seq_id, sequence.tokens, sequence.job->salt);
  }
  if (!sequence.was_preempted) sequence.n_cached = sequence.n_computed;
}

void Scheduler::admit() {
  const std::lock_guard lock(mutex_);
  while (!waiting_.empty() && !free_seq_ids_.empty()) {
    const size_t next = next_to_admit();
    if (next == waiting_.size()) break;
    Sequence& sequence = *waiting_[next];
    // One that had to make room comes back only when there is room again, not to push out the next.
    if (!running_.empty() && room_left() <= sequence.n_tokens()) break;
    sequence.seq_id = free_seq_ids_.back();
    free_seq_ids_.pop_back();
    take_over_prefix(sequence);
    running_.push_back(std::move(waiting_[next]));
    waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(next));
  }
  published_.running = static_cast<int32_t>(running_.size());  // never neither waiting nor running
}

// Tokens that the pool can still take when all that runs has computed what it holds.
int64_t Scheduler::room_left() const {
  const int64_t block = info_.kv_block_size;
  const auto blocks_for = [block](int64_t n) { return (n + block - 1) / block; };
  int64_t free_blocks = engine_.free_kv_blocks();
  for (const Owned& running : running_) {
    free_blocks -= blocks_for(running->n_tokens()) - blocks_for(running->n_computed);
  }
  return free_blocks * block;
}

bool Scheduler::is_paused(Sequence& sequence) {
  if (!sequence.job->channel->full()) {
    sequence.paused = false;
    return false;
  }
  const auto now = Clock::now();
  if (!sequence.paused) sequence.paused_since = now;
  sequence.paused = true;
  if (now - sequence.paused_since > options_.slow_reader) {
    ++now_.slow_readers;
    finish(sequence, Finish::failed, "the client did not read its answer for too long");
  }
  return true;
}

void Scheduler::plan_decoding(int32_t& room) {
  for (const Owned& running : running_) {
    if (running->missing() != 1 || room == 0) continue;
    if (is_paused(*running)) {
      ++now_.paused;
      continue;
    }
    rows_.push_back({running.get(), 1});
    --room;
  }
}

// The room is shared evenly; what short prompts do not need goes to the longer ones.
void Scheduler::plan_prompts(int32_t& room) {
  prompts_.clear();
  for (const Owned& running : running_) {
    if (running->missing() > 1) prompts_.push_back(running.get());
  }
  if (options_.chunked_prefill) {
    std::stable_sort(prompts_.begin(), prompts_.end(), [](const Sequence* a, const Sequence* b) {
      return a->missing() < b->missing();
    });
  }
  for (size_t i = 0; i < prompts_.size() && room > 0; ++i) {
    const auto others = static_cast<int32_t>(prompts_.size() - i);
    const int32_t share = std::max(1, room / others);
    const int32_t n =
        options_.chunked_prefill ? std::min(prompts_[i]->missing(), share) : prompts_[i]->missing();
    if (n > room) continue;
    rows_.push_back({prompts_[i], n});
    room -= n;
  }
}

void Scheduler::plan() {
  rows_.clear();
  now_.paused = 0;
  int32_t room = info_.max_tokens_per_step;
  // A whole prompt must find an empty step some time, so without chunks prompts go first.
  if (!options_.chunked_prefill) plan_prompts(room);
  plan_decoding(room);
  if (options_.chunked_prefill) plan_prompts(room);
}

mm2_status Scheduler::compute(mm2_error& error) {
  seqs_.clear();
  tokens_.clear();
  for (const Row& row : rows_) {
    const Sequence& sequence = *row.sequence;
    const bool reaches_end = row.n_tokens == sequence.missing();
    seqs_.push_back({sequence.seq_id, sequence.n_computed, row.n_tokens, reaches_end ? 1 : 0});
    const auto first = sequence.tokens.begin() + sequence.n_computed;
    tokens_.insert(tokens_.end(), first, first + row.n_tokens);
  }
  row_status_.assign(rows_.size(), MM2_OK);
  auto batch = mm2::make<mm2_batch>();
  batch.n_seqs = static_cast<int32_t>(seqs_.size());
  batch.seqs = seqs_.data();
  batch.tokens = tokens_.data();
  batch.n_tokens = static_cast<int32_t>(tokens_.size());
  return mm2_engine_step(engine_.get(), &batch, logits_.data(), logits_.size(), row_status_.data(),
                         &error);
}

// Runs what is planned. False when nothing was computed.
bool Scheduler::step() {
  auto error = mm2::make<mm2_error>();
  mm2_status status = compute(error);
  while (status == MM2_KV_EXHAUSTED && running_.size() > 1) {
    preempt_one();
    plan();
    if (rows_.empty()) return false;
    status = compute(error);
  }
  now_.last_batch = static_cast<int32_t>(rows_.size());
  if (status == MM2_OK) return true;
  if (status == MM2_E_DEVICE_LOST || status == MM2_E_INTERNAL) {
    const std::lock_guard lock(mutex_);
    broken_ = std::string("the engine failed: ") + error.message;
  }
  for (const Row& row : rows_) finish(*row.sequence, Finish::failed, error.message);
  return false;
}

void Scheduler::preempt_one() {
  const auto paused = std::find_if(running_.rbegin(), running_.rend(),
                                   [](const Owned& sequence) { return sequence->paused; });
  const auto at = paused == running_.rend() ? running_.end() - 1 : paused.base() - 1;
  Owned sequence = std::move(*at);
  running_.erase(at);
  release(*sequence);  // its tokens are kept: they are computed again when it returns
  sequence->was_preempted = true;
  ++now_.preemptions;
  const std::lock_guard lock(mutex_);
  waiting_.push_front(std::move(sequence));
}

void Scheduler::take_results() {
  const float* logits = logits_.data();
  for (size_t i = 0; i < rows_.size(); ++i) {
    Sequence& sequence = *rows_[i].sequence;
    const bool has_logits = seqs_[i].n_outputs > 0;
    if (row_status_[i] != MM2_OK) {
      finish(sequence, Finish::failed, "the model computed values that are not finite");
    } else {
      sequence.n_computed += rows_[i].n_tokens;
      if (sequence.n_computed <= sequence.n_prompt) {
        now_.prompt_tokens += static_cast<uint64_t>(rows_[i].n_tokens);
      }
      if (has_logits) take_token(sequence, logits);
    }
    if (has_logits) logits += info_.n_vocab;
  }
}

void Scheduler::take_token(Sequence& sequence, const float* logits) {
  TokenEvent event;
  event.choice = sequence.choice;
  event.n_cached = sequence.n_cached;
  if (sequence.job->logprobs) {
    event.top.resize(1 + static_cast<size_t>(sequence.job->sampling.n_logprobs));
  }
  auto error = mm2::make<mm2_error>();
  if (mm2_sampler_sample(sequence.sampler.get(), logits, &event.token,
                         event.top.empty() ? nullptr : event.top.data(), &error) != MM2_OK) {
    return finish(sequence, Finish::failed, error.message);
  }
  sequence.sampler.accept(event.token);
  if (is_stop_(event.token) && !sequence.job->ignore_eos) return finish(sequence, Finish::stop);

  const auto now = Clock::now();
  if (sequence.n_generated() == 0) {
    now_.cached_tokens += static_cast<uint64_t>(sequence.n_cached);
    now_.first_token.add(seconds_between(sequence.submitted, now));
  } else {
    now_.between_tokens.add(seconds_between(sequence.last_token, now));
  }
  sequence.last_token = now;
  sequence.tokens.push_back(event.token);
  ++now_.generated_tokens;
  sequence.job->channel->push(std::move(event));
  if (sequence.n_generated() == sequence.job->max_tokens) finish(sequence, Finish::length);
}

// Tells the reader; the sequence leaves with remove_finished, when nothing points to it any more.
void Scheduler::finish(Sequence& sequence, Finish why, const std::string& message) {
  if (sequence.finished) return;
  TokenEvent event;
  event.choice = sequence.choice;
  event.finish = why;
  event.n_cached = sequence.n_cached;
  event.message = message;
  sequence.job->channel->push(std::move(event));
  sequence.finished = true;
  ++(why == Finish::failed ? now_.failed : now_.finished);
}

void Scheduler::remove_finished() {
  std::erase_if(running_, [this](const Owned& sequence) {
    if (!sequence->finished) return false;
    release(*sequence);
    return true;
  });
}

void Scheduler::fail_all(const std::string& message) {
  const std::lock_guard lock(mutex_);
  for (Owned& sequence : waiting_) running_.push_back(std::move(sequence));
  waiting_.clear();
  for (const Owned& sequence : running_) finish(*sequence, Finish::failed, message);
  remove_finished();
}

void Scheduler::release(Sequence& sequence) {
  if (sequence.seq_id < 0) return;
  mm2_seq_free(engine_.get(), sequence.seq_id, nullptr);
  free_seq_ids_.push_back(sequence.seq_id);
  sequence.seq_id = -1;
  sequence.n_computed = 0;
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

}  // namespace server
