#include "scheduler.h"

#include <algorithm>

Scheduler::Scheduler(mm2::Engine& engine, IsStop is_stop, OnFinished on_finished)
    : engine_(engine),
      info_(engine.info()),
      is_stop_(std::move(is_stop)),
      on_finished_(std::move(on_finished)) {
  for (int32_t id = info_.max_seqs - 1; id >= 0; --id) free_seq_ids_.push_back(id);
}

void Scheduler::submit(Job job) {
  // A job that could never run is refused at the door instead of waiting forever.
  const int64_t most = std::min(info_.kv_tokens, info_.max_positions);
  if (job.n_prompt + static_cast<int64_t>(job.max_tokens) > most) {
    throw std::runtime_error("a job of " + std::to_string(job.n_prompt) + " + " +
                             std::to_string(job.max_tokens) + " tokens; the engine holds " +
                             std::to_string(most));
  }
  waiting_.push_back(std::make_unique<Job>(std::move(job)));
}

bool Scheduler::step() {
  admit();
  if (running_.empty()) return false;
  std::vector<Row> rows = plan();
  // The pool may be too small for all of this: the youngest answer makes room and waits again.
  while (!compute(rows)) {
    preempt_youngest();
    rows = plan();
  }
  take_results(rows);
  return true;
}

// Tokens that the pool can still take when all that runs has computed what it holds.
int64_t Scheduler::room_left() const {
  int64_t free_blocks = engine_.free_kv_blocks();
  const int64_t block = info_.kv_block_size;
  for (const auto& job : running_) {
    const auto blocks_for = [block](int64_t n) { return (n + block - 1) / block; };
    free_blocks -= blocks_for(job->n_tokens()) - blocks_for(job->n_computed);
  }
  return free_blocks * block;
}

void Scheduler::admit() {
  while (!waiting_.empty() && !free_seq_ids_.empty()) {
    // One that had to make room comes back only when there is room again, not to push out the next.
    if (!running_.empty() && room_left() <= waiting_.front()->n_tokens()) break;
    Job& job = *waiting_.front();
    job.seq_id = free_seq_ids_.back();
    free_seq_ids_.pop_back();
    // What an earlier conversation, or this one before it made room, has left of these tokens.
    job.n_computed = engine_.match_prefix(job.seq_id, job.tokens);
    totals_.reused_tokens += job.n_computed;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  totals_.most_at_once = std::max(totals_.most_at_once, static_cast<int32_t>(running_.size()));
}

std::vector<Scheduler::Row> Scheduler::plan() const {
  std::vector<Row> rows;
  int32_t room = info_.max_tokens_per_step;
  const auto add = [&](bool decoding) {
    for (const auto& job : running_) {
      const int32_t missing = job->n_tokens() - job->n_computed;
      if ((missing == 1) != decoding || room == 0) continue;
      rows.push_back({job.get(), std::min(missing, room)});
      room -= rows.back().n_tokens;
    }
  };
  add(true);
  add(false);
  return rows;
}

bool Scheduler::compute(const std::vector<Row>& rows) {
  std::vector<mm2_seq_rows> seqs;
  std::vector<int32_t> tokens;
  for (const Row& row : rows) {
    const Job& job = *row.job;
    const bool reaches_end = job.n_computed + row.n_tokens == job.n_tokens();
    seqs.push_back({job.seq_id, job.n_computed, row.n_tokens, reaches_end ? 1 : 0});
    const auto first = job.tokens.begin() + job.n_computed;
    tokens.insert(tokens.end(), first, first + row.n_tokens);
  }
  try {
    engine_.step(seqs, tokens, logits_);
  } catch (const mm2::Error& error) {
    if (error.code() == MM2_KV_EXHAUSTED && running_.size() > 1) return false;
    throw;
  }
  ++totals_.steps;
  return true;
}

void Scheduler::preempt_youngest() {
  Job& job = *running_.back();
  release(job);
  job.n_computed = 0;  // its tokens are kept: what the cache loses is computed again
  ++job.n_preempted;
  ++totals_.preemptions;
  waiting_.push_front(std::move(running_.back()));
  running_.pop_back();
}

void Scheduler::take_results(const std::vector<Row>& rows) {
  const float* logits = logits_.data();
  std::vector<const Job*> finished;
  for (const Row& row : rows) {
    Job& job = *row.job;
    if (job.n_computed < job.n_prompt) totals_.prompt_tokens += row.n_tokens;
    job.n_computed += row.n_tokens;
    if (job.n_computed < job.n_tokens()) continue;  // more of its prompt comes with the next step
    const int32_t token = job.sampler.sample(logits);
    logits += info_.n_vocab;
    job.sampler.accept(token);
    const bool stopped = is_stop_(token);
    if (!stopped) {
      job.tokens.push_back(token);
      ++totals_.generated_tokens;
    }
    if (stopped || job.n_generated() == job.max_tokens) finished.push_back(&job);
  }
  for (const Job* job : finished) {
    const auto at = std::find_if(running_.begin(), running_.end(),
                                 [job](const auto& running) { return running.get() == job; });
    const std::unique_ptr<Job> done = std::move(*at);
    running_.erase(at);
    release(*done);
    on_finished_(*done);
  }
}

void Scheduler::release(Job& job) {
  engine_.free(job.seq_id);
  free_seq_ids_.push_back(job.seq_id);
  job.seq_id = -1;
}
