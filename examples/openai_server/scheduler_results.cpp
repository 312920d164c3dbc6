// What a step brings: a token for each sequence whose logits were wanted, told to its reader; and how
// sequences end.
#include "scheduler.h"

namespace server {
namespace {

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

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

void Scheduler::release(Sequence& sequence) {
  if (sequence.seq_id < 0) return;
  mm2_seq_free(engine_.get(), sequence.seq_id, nullptr);
  free_seq_ids_.push_back(sequence.seq_id);
  sequence.seq_id = -1;
  sequence.n_computed = 0;
}

}  // namespace server
