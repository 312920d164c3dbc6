// What is computed: a job as a request asks for it, and each of its answers as a sequence.
#pragma once

#include <mm2/mm2.hpp>

#include <memory>

#include "channel.h"

namespace server {

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

/// One answer. It waits, then runs under a number of the engine's, and may have to wait again.
struct Sequence {
  using Clock = std::chrono::steady_clock;

  std::shared_ptr<const Job> job;
  int32_t choice;
  mm2::Sampler sampler;
  std::vector<int32_t> tokens;  // the prompt, then every token that was picked
  int32_t n_prompt;
  int32_t seq_id = -1;     // in the engine; -1 while it waits
  int32_t n_computed = 0;  // tokens that the engine holds
  int32_t n_cached = 0;    // of the prompt, found in the prefix cache
  bool was_preempted = false;
  Clock::time_point submitted = Clock::now(), last_token{}, paused_since{};
  bool paused = false;     // its client does not read
  bool finished = false;   // its reader was told; it leaves before anything is planned again
  int32_t n_unwanted = 0;  // steps that it was in after nobody wanted it any more

  int32_t n_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t missing() const { return n_tokens() - n_computed; }
  int32_t n_generated() const { return n_tokens() - n_prompt; }
  bool unwanted() const { return job->channel->unwanted(choice); }
};

}  // namespace server
