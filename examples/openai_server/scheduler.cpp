// The policy, as scheduler.h tells it, in the order in which a turn goes through it. All of this runs on
// the engine thread. A sequence is in waiting_ (which other threads add to, under mutex_) or in running_.
#include "scheduler.h"

#include <algorithm>

namespace server {

// False when there is nothing to compute until somebody calls.
bool Scheduler::take_turn() {
  const auto begin = Clock::now();
  run_tasks();
  drop_unwanted();
  admit();
  plan();
  const bool has_work = !rows_.empty();
  const auto before_step = Clock::now();
  const bool stepped = has_work && step();
  const auto after_step = Clock::now();
  if (stepped) take_results();
  remove_finished();
  if (stepped) {
    publish(after_step - before_step, Clock::now() - begin);
  } else {
    publish({}, {});
  }
  return has_work;
}

// ---- 1. who leaves

void Scheduler::drop_unwanted() {
  const auto gone = [this](const Owned& sequence) {
    if (!sequence->unwanted()) return false;
    release(*sequence);
    // One choice alone is unwanted when its reader found a stop string: that is an end.
    ++(sequence->job->channel->cancelled() ? now_.cancelled : now_.finished);
    return true;
  };
  std::erase_if(running_, gone);
  const std::lock_guard lock(mutex_);
  std::erase_if(waiting_, gone);
}

// ---- 2. who comes in

void Scheduler::admit() {
  const std::lock_guard lock(mutex_);
  if (!waiting_.empty() && !free_seq_ids_.empty()) {
    Seats seats;
    for (const Owned& running : running_) ++seats[running->job->owner];
    while (!free_seq_ids_.empty()) {
      const size_t next = next_to_admit(seats);
      if (next == waiting_.size()) break;
      Sequence& sequence = *waiting_[next];
      // Who is let in must not push out somebody else at once. What is too large for the room that is
      // left waits at the head of the queue until others have ended; smaller ones do not overtake it.
      if (!running_.empty() && room_left() <= sequence.n_tokens()) break;
      sequence.seq_id = free_seq_ids_.back();
      free_seq_ids_.pop_back();
      take_over_prefix(sequence);
      ++seats[sequence.job->owner];
      running_.push_back(std::move(waiting_[next]));
      waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(next));
    }
  }
  published_.running = static_cast<int32_t>(running_.size());  // never neither waiting nor running
}

// Seats go to the owner who has the fewest of them; among equals the oldest comes first.
size_t Scheduler::next_to_admit(const Seats& seats) const {
  size_t best = waiting_.size();
  int32_t fewest = INT32_MAX;
  for (size_t i = 0; i < waiting_.size() && fewest > 0; ++i) {
    const Sequence& sequence = *waiting_[i];
    if (!may_start(sequence)) continue;
    if (sequence.was_preempted) return i;  // it has waited already
    const auto held = seats.find(sequence.job->owner);
    const int32_t n = held == seats.end() ? 0 : held->second;
    if (n >= fewest) continue;
    best = i;
    fewest = n;
  }
  return best;
}

bool Scheduler::may_start(const Sequence& sequence) const {
  if (sequence.job->channel->full()) return false;
  if (sequence.job->n == 1) return true;
  // Other answers to a prompt that is being computed wait for it instead of computing it too.
  return std::none_of(running_.begin(), running_.end(), [&](const Owned& running) {
    return running->job == sequence.job && running->n_computed < sequence.n_prompt;
  });
}

// What is computed already, for another answer to this prompt or for a prompt that begins alike, need not
// be computed again. The last token must be: its logits are wanted.
void Scheduler::take_over_prefix(Sequence& sequence) {
  const auto sibling = std::find_if(running_.begin(), running_.end(), [&](const Owned& running) {
    return running->job == sequence.job && running->n_computed >= sequence.n_prompt;
  });
  if (sibling != running_.end() && sequence.n_prompt > 1) {
    engine_.fork((*sibling)->seq_id, sequence.seq_id, sequence.n_prompt - 1);
    sequence.n_computed = sequence.n_prompt - 1;
  } else {
    sequence.n_computed =
        engine_.match_prefix(sequence.seq_id, sequence.tokens, sequence.job->salt);
  }
  if (!sequence.was_preempted) sequence.n_cached = sequence.n_computed;
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

// ---- 3. what is computed next

void Scheduler::plan() {
  rows_.clear();
  now_.paused = 0;
  int32_t room = info_.max_tokens_per_step;
  // A whole prompt must find an empty step some time, so without chunks prompts go first.
  if (!options_.chunked_prefill) plan_prompts(room);
  plan_decoding(room);
  if (options_.chunked_prefill) plan_prompts(room);
  remove_finished();  // slow readers: they are in no row
}

// Every answer that is being written gets its token, but for those that nobody reads.
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

// Prompts share the rest evenly; what short ones do not need goes to the longer ones. So a short prompt
// is through at once, and a long one goes on in pieces beside it.
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

// ---- 4. computing it

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

// The rows as the engine takes them: logits for those that reach the end of their tokens.
mm2_status Scheduler::compute(mm2_error& error) {
  seqs_.clear();
  tokens_.clear();
  for (const Row& row : rows_) {
    Sequence& sequence = *row.sequence;
    const bool reaches_end = row.n_tokens == sequence.missing();
    seqs_.push_back({sequence.seq_id, sequence.n_computed, row.n_tokens, reaches_end ? 1 : 0});
    const auto first = sequence.tokens.begin() + sequence.n_computed;
    tokens_.insert(tokens_.end(), first, first + row.n_tokens);
    sequence.n_unwanted += sequence.unwanted() ? 1 : 0;
    now_.most_unwanted_steps = std::max(now_.most_unwanted_steps, sequence.n_unwanted);
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

// Somebody makes room: whose client does not read, else who came last. Its tokens and its random numbers
// are kept; it goes to the head of the queue and is computed again.
void Scheduler::preempt_one() {
  const auto paused = std::find_if(running_.rbegin(), running_.rend(),
                                   [](const Owned& sequence) { return sequence->paused; });
  const auto at = paused == running_.rend() ? running_.end() - 1 : paused.base() - 1;
  Owned sequence = std::move(*at);
  running_.erase(at);
  release(*sequence);
  sequence->was_preempted = true;
  ++now_.preemptions;
  const std::lock_guard lock(mutex_);
  waiting_.push_front(std::move(sequence));
}

}  // namespace server
